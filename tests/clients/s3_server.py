"""A server that speaks S3, for tests: says its port, and ends with whoever started it.

    python s3_server.py BUCKET

It reads its standard input, which ends when the process that holds the other end does, however that ends.
"""

import logging
import os
import sys

os.environ.setdefault("MOTO_S3_DEFAULT_KEY_BUFFER_SIZE", str(64 << 20))
os.environ.update(AWS_ACCESS_KEY_ID="x", AWS_SECRET_ACCESS_KEY="x", AWS_DEFAULT_REGION="us-east-1")
logging.getLogger("werkzeug").setLevel(logging.ERROR)

import boto3  # noqa: E402
from moto.server import ThreadedMotoServer  # noqa: E402

server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
port = server.get_host_and_port()[1]
client = boto3.client("s3", endpoint_url=f"http://127.0.0.1:{port}")
client.create_bucket(Bucket=sys.argv[1])
print(port, flush=True)
sys.stdin.buffer.read()
os._exit(0)
