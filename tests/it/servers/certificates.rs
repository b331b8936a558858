//! Certificates for servers that speak TLS.

use std::process::Command;

const SCRIPT: &str = "set -e
    authority() { openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=$1-ca -keyout $2.key -out $2.pem; }
    authority test ca
    authority other other
    openssl req -newkey rsa:2048 -nodes -subj /CN=localhost -keyout server.key -out server.csr
    printf 'subjectAltName=DNS:localhost' > san
    openssl x509 -req -in server.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out server.pem
    chmod 600 *.key";

/// Makes `server.pem` and `server.key` for the name `localhost`, `ca.pem`, which has signed it, and `other.pem`, which
/// has not. `shell` is a shell in the folder, as the user whose the keys shall be.
pub fn make_certificates(mut shell: Command) {
    let output = shell.args(["-c", SCRIPT]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
