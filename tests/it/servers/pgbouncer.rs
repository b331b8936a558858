//! PgBouncer in transaction mode, before a PostgreSQL of the tests.

use std::{path::Path, process::Child, time::Duration};

use tokio::net::TcpStream;

use super::programs::{Folder, free_port, program};

pub struct PgBouncer {
    folder: Folder,
    port: u16,
    _process: Child,
}

impl PgBouncer {
    /// `ignored` are startup parameters that it takes and drops instead of refusing the connection.
    pub async fn start(server_port: u16, ignored: &str) -> PgBouncer {
        let folder = Folder::new("opsroom-pgbouncer-", "pid");
        let port = free_port();
        let here = folder.path.display();
        let users = folder.write("users", "\"postgres\" \"\"\n");
        let config = folder.write(
            "ini",
            &format!(
                "[databases]\n* = host=127.0.0.1 port={server_port}\n\
                 [pgbouncer]\nlisten_addr=127.0.0.1\nlisten_port={port}\nunix_socket_dir=\npidfile={here}/pid\n\
                 auth_type=trust\nauth_file={}\npool_mode=transaction\ndefault_pool_size=4\nmax_client_conn=200\n\
                 ignore_startup_parameters={ignored}\n",
                users.display()
            ),
        );
        let path = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer", "/usr/local/bin/pgbouncer"]
            .into_iter()
            .map(Path::new)
            .find(|path| path.exists())
            .expect("PgBouncer is missing: install the package pgbouncer (scripts/test.sh does)");
        let process = program(path, &folder).arg(config).spawn().unwrap();
        let bouncer = PgBouncer { folder, port, _process: process };
        bouncer.until_ready().await;
        bouncer
    }

    async fn until_ready(&self) {
        for _ in 0..500 {
            if TcpStream::connect(("127.0.0.1", self.port)).await.is_ok() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("PgBouncer did not start: {}", self.folder.log());
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}?sslmode=disable", self.port)
    }
}
