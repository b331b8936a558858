//! What the state of a server means. No I/O: `doctor.rs` asks.

use std::num::NonZeroU32;

use super::{connect::Pooling, types::At};
use crate::{model::Micros, store::findings::Finding};

/// The oldest server that is supported, as `server_version_num`.
const OLDEST: i64 = 140_000;
/// Clocks further apart than this make times confusing; leases are compared with the database's clock alone.
const CLOCKS_APART: i64 = 1_000_000;
/// More dead rows than this many times the live ones, and than [`FEW_ROWS`], is bloat.
const DEAD_ROWS: i64 = 1;
const FEW_ROWS: i64 = 50_000;
/// Below so many block reads a hit ratio says nothing.
const FEW_BLOCKS: i64 = 10_000;
/// In percent.
const HITS: i64 = 95;
/// A transaction that is open for longer keeps dead rows from being removed, in seconds.
const OLD_TRANSACTION: i64 = 300;

/// What `queries/doctor/server.sql` answers.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct ServerRecord {
    pub(super) version: i64,
    pub(super) version_name: String,
    pub(super) is_standby: bool,
    pub(super) fsync: String,
    pub(super) full_page_writes: String,
    pub(super) synchronous_commit: String,
    pub(super) autovacuum: String,
    pub(super) max_connections: i64,
    pub(super) reserved_connections: i64,
    pub(super) connections: i64,
    pub(super) statement_timeout_ms: i64,
    pub(super) is_encrypted: bool,
    pub(super) is_local: bool,
    pub(super) role: String,
    pub(super) is_superuser: bool,
    pub(super) may_create: bool,
    pub(super) has_roles: bool,
    pub(super) blocks_hit: i64,
    pub(super) blocks_read: i64,
    pub(super) waiting: i64,
    pub(super) oldest_transaction_s: i64,
}

/// What `queries/doctor/tables.sql` answers.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct TableRecord {
    pub(super) name: String,
    pub(super) live: i64,
    pub(super) dead: i64,
    pub(super) vacuumed_at: Option<At>,
    pub(super) is_vacuumed: bool,
    pub(super) missing: String,
}

/// What is known of this side.
#[derive(Debug, Clone, Copy)]
pub(super) struct Client {
    pub(super) pool: NonZeroU32,
    pub(super) pooling: Pooling,
}

/// The database's time, and this machine's around it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clocks {
    pub(super) before: Micros,
    pub(super) database: Micros,
    pub(super) after: Micros,
}

/// What the server's own state means.
pub(super) fn server(server: &ServerRecord, client: Client) -> Vec<Finding> {
    vec![
        version(server),
        primary(server),
        encryption(server, client),
        durability(server),
        connections(server, client),
        pooler(server, client),
        timeouts(server, client),
        role(server),
        roles(server),
        cache(server),
        locks(server),
        transactions(server),
    ]
}

fn version(server: &ServerRecord) -> Finding {
    let name = &server.version_name;
    if server.version < OLDEST {
        return Finding::fail("DB_VERSION", format!("PostgreSQL {name} is too old"), "upgrade it to 14 or later");
    }
    Finding::ok("DB_VERSION", format!("PostgreSQL {name}"))
}

fn primary(server: &ServerRecord) -> Finding {
    if server.is_standby {
        return Finding::fail(
            "DB_PRIMARY",
            "the server is a standby and takes no writes",
            "name the primary in the URL",
        );
    }
    Finding::ok("DB_PRIMARY", "the server takes writes")
}

fn encryption(server: &ServerRecord, client: Client) -> Finding {
    if server.is_encrypted {
        return Finding::ok("DB_TLS", "the connection to the server is encrypted");
    }
    if client.pooling == Pooling::Transaction {
        return Finding::warn(
            "DB_TLS",
            "the connection from the pooler to the server is not encrypted",
            "set server_tls_sslmode in the pooler, unless both are on one machine",
        );
    }
    if server.is_local {
        return Finding::ok("DB_TLS", "the server is on this machine");
    }
    Finding::warn("DB_TLS", "the connection is not encrypted", "add sslmode=verify-full to the URL")
}

fn durability(server: &ServerRecord) -> Finding {
    let off: Vec<String> = [
        ("fsync", &server.fsync),
        ("full_page_writes", &server.full_page_writes),
        ("synchronous_commit", &server.synchronous_commit),
    ]
    .into_iter()
    .filter(|(_, value)| *value == "off")
    .map(|(name, _)| format!("{name} = off"))
    .collect();
    if off.is_empty() {
        return Finding::ok("DB_DURABILITY", "what is committed is on the disk");
    }
    let fix = "set them to `on`: runs that were acknowledged are lost when the server crashes";
    Finding::fail("DB_DURABILITY", off.join(", "), fix)
}

fn connections(server: &ServerRecord, client: Client) -> Finding {
    let (pool, room) = (i64::from(client.pool.get()), server.max_connections - server.reserved_connections);
    let what = format!(
        "{} of {} connections are in use; each process takes up to {pool}",
        server.connections, server.max_connections
    );
    if client.pooling != Pooling::Transaction && server.connections + pool > room {
        let fix = "raise max_connections, lower OPSROOM_DATABASE_POOL, or put PgBouncer in between";
        return Finding::warn("DB_CONNECTIONS", what, fix);
    }
    Finding::ok("DB_CONNECTIONS", what)
}

fn pooler(_: &ServerRecord, client: Client) -> Finding {
    let what = match client.pooling {
        Pooling::Transaction => "a pooler in transaction mode is in between: wake-ups come from polling, once a second",
        Pooling::Session | Pooling::Detect => "the connections are our own",
    };
    Finding::ok("DB_POOLER", what)
}

fn timeouts(server: &ServerRecord, client: Client) -> Finding {
    if client.pooling == Pooling::Transaction {
        return Finding::ok("DB_TIMEOUTS", "every transaction brings its own limits");
    }
    if server.statement_timeout_ms == 0 {
        let fix = "remove statement_timeout=0 from `options` in the URL";
        return Finding::warn("DB_TIMEOUTS", "a statement may run for ever", fix);
    }
    Finding::ok("DB_TIMEOUTS", format!("a statement may run for {} ms", server.statement_timeout_ms))
}

fn role(server: &ServerRecord) -> Finding {
    let role = &server.role;
    let fix =
        "let services log in as a member of opsroom_readwrite, and only `opsroom migrate` as one of opsroom_migrate";
    if server.is_superuser {
        return Finding::warn("DB_ROLE", format!("the role `{role}` is a superuser"), fix);
    }
    if server.may_create {
        return Finding::warn("DB_ROLE", format!("the role `{role}` may change the schema"), fix);
    }
    Finding::ok("DB_ROLE", format!("the role `{role}` may not change the schema"))
}

fn roles(server: &ServerRecord) -> Finding {
    if server.has_roles {
        return Finding::ok("DB_ROLES", "opsroom_migrate, opsroom_readwrite and opsroom_readonly are there");
    }
    Finding::warn(
        "DB_ROLES",
        "the roles opsroom_migrate, opsroom_readwrite and opsroom_readonly are not all there",
        "migrate as a role that may create roles, or see docs/postgres.md for doing it by hand",
    )
}

fn cache(server: &ServerRecord) -> Finding {
    let all = server.blocks_hit + server.blocks_read;
    if all < FEW_BLOCKS {
        return Finding::ok("DB_CACHE", "too little was read yet to tell how often it came from memory");
    }
    let percent = server.blocks_hit * 100 / all;
    let what = format!("{percent} % of the blocks that were read came from memory");
    if percent < HITS {
        return Finding::warn("DB_CACHE", what, "raise shared_buffers, towards a quarter of the server's memory");
    }
    Finding::ok("DB_CACHE", what)
}

fn locks(server: &ServerRecord) -> Finding {
    if server.waiting > 0 {
        let what = format!("{} statements have been waiting for locks for more than a second", server.waiting);
        return Finding::warn("DB_LOCKS", what, "pg_blocking_pids(pid) of pg_stat_activity shows who holds them");
    }
    Finding::ok("DB_LOCKS", "nobody waits for a lock")
}

fn transactions(server: &ServerRecord) -> Finding {
    let seconds = server.oldest_transaction_s;
    if seconds > OLD_TRANSACTION {
        let what = format!("a transaction has been open for {seconds} s, and no dead row that is younger can go");
        return Finding::warn(
            "DB_TRANSACTIONS",
            what,
            "end it: pg_stat_activity, xact_start; pg_terminate_backend(pid)",
        );
    }
    Finding::ok("DB_TRANSACTIONS", "no transaction has been open for long")
}

/// What a difference between the clocks means.
pub(super) fn clock(Clocks { before, database, after }: Clocks) -> Finding {
    // Somewhere between the question and the answer.
    let apart = if database < before {
        database.0 - before.0
    } else if database > after {
        database.0 - after.0
    } else {
        0
    };
    let what = format!("the database's clock and this machine's are {} ms apart", apart / 1_000);
    if apart.abs() > CLOCKS_APART {
        let fix = "run a time service (chrony, systemd-timesyncd) on both; leases do not depend on it";
        return Finding::warn("DB_CLOCK", what, fix);
    }
    Finding::ok("DB_CLOCK", what)
}

/// What this role may not do with which tables. `expected` are the tables of this build's schema.
pub(super) fn grants(tables: &[TableRecord], expected: &[&str], role: &str) -> Finding {
    let there = |name: &&&str| tables.iter().any(|table| table.name == ***name);
    if let Some(absent) = expected.iter().find(|name| !there(name)) {
        let what = format!("there is no table `{absent}`");
        return Finding::fail(
            "DB_GRANTS",
            what,
            "run `opsroom migrate up`; or the URL's search_path is another schema",
        );
    }
    let lacking: Vec<String> = tables
        .iter()
        .filter(|table| !table.missing.is_empty())
        .map(|table| format!("{} on {}", table.missing, table.name))
        .collect();
    if lacking.is_empty() {
        return Finding::ok("DB_GRANTS", "this role may read and write every table");
    }
    let what = format!("this role lacks {}", lacking.join("; "));
    Finding::fail("DB_GRANTS", what, format!("GRANT opsroom_readwrite TO \"{role}\""))
}

/// Whether dead rows are removed.
pub(super) fn vacuum(server: &ServerRecord, tables: &[TableRecord]) -> Finding {
    if server.autovacuum == "off" {
        return Finding::fail("DB_AUTOVACUUM", "autovacuum is off", "switch it on: tables grow without bound");
    }
    if let Some(table) = tables.iter().find(|table| !table.is_vacuumed) {
        let what = format!("autovacuum is off for {}", table.name);
        return Finding::fail("DB_AUTOVACUUM", what, format!("ALTER TABLE {} RESET (autovacuum_enabled)", table.name));
    }
    Finding::ok("DB_AUTOVACUUM", "autovacuum removes what is dead")
}

/// Tables with more dead rows than live ones.
pub(super) fn bloat(tables: &[TableRecord]) -> Finding {
    let bloated = tables.iter().filter(|table| table.dead > FEW_ROWS.max(table.live * DEAD_ROWS));
    let Some(worst) = bloated.max_by_key(|table| table.dead) else {
        return Finding::ok("DB_BLOAT", "no table has more dead rows than live ones");
    };
    let last = worst.vacuumed_at.map_or("never".to_owned(), |at| at.0.to_string());
    let what =
        format!("{} has {} dead rows for {} live ones; last vacuumed: {last}", worst.name, worst.dead, worst.live);
    Finding::warn("DB_BLOAT", what, format!("VACUUM {}; look for transactions that stay open", worst.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::findings::Level;

    fn healthy() -> ServerRecord {
        let on = || "on".to_owned();
        ServerRecord {
            version: 150_018,
            version_name: "15.18".to_owned(),
            is_standby: false,
            fsync: on(),
            full_page_writes: on(),
            synchronous_commit: on(),
            autovacuum: on(),
            max_connections: 100,
            reserved_connections: 3,
            connections: 10,
            statement_timeout_ms: 30_000,
            is_encrypted: true,
            is_local: false,
            role: "worker".to_owned(),
            is_superuser: false,
            may_create: false,
            has_roles: true,
            blocks_hit: 999_000,
            blocks_read: 1_000,
            waiting: 0,
            oldest_transaction_s: 1,
        }
    }

    fn client() -> Client {
        Client { pool: NonZeroU32::MIN.saturating_add(4), pooling: Pooling::Session }
    }

    fn table(name: &str) -> TableRecord {
        let (name, missing) = (name.to_owned(), String::new());
        TableRecord { name, live: 100, dead: 10, vacuumed_at: None, is_vacuumed: true, missing }
    }

    #[test]
    fn a_healthy_server_has_nothing_to_say() {
        assert!(server(&healthy(), client()).iter().all(|finding| finding.level == Level::Ok));
    }

    #[test]
    fn each_trouble_is_told_by_its_own_code() {
        let off = || "off".to_owned();
        let cases = [
            ("DB_VERSION", Level::Fail, ServerRecord { version: 130_010, ..healthy() }),
            ("DB_PRIMARY", Level::Fail, ServerRecord { is_standby: true, ..healthy() }),
            ("DB_TLS", Level::Warn, ServerRecord { is_encrypted: false, ..healthy() }),
            ("DB_DURABILITY", Level::Fail, ServerRecord { fsync: off(), ..healthy() }),
            ("DB_DURABILITY", Level::Fail, ServerRecord { full_page_writes: off(), ..healthy() }),
            ("DB_DURABILITY", Level::Fail, ServerRecord { synchronous_commit: off(), ..healthy() }),
            ("DB_CONNECTIONS", Level::Warn, ServerRecord { connections: 93, ..healthy() }),
            ("DB_TIMEOUTS", Level::Warn, ServerRecord { statement_timeout_ms: 0, ..healthy() }),
            ("DB_ROLE", Level::Warn, ServerRecord { is_superuser: true, ..healthy() }),
            ("DB_ROLE", Level::Warn, ServerRecord { may_create: true, ..healthy() }),
            ("DB_ROLES", Level::Warn, ServerRecord { has_roles: false, ..healthy() }),
            ("DB_CACHE", Level::Warn, ServerRecord { blocks_hit: 80_000, blocks_read: 20_000, ..healthy() }),
            ("DB_LOCKS", Level::Warn, ServerRecord { waiting: 2, ..healthy() }),
            ("DB_TRANSACTIONS", Level::Warn, ServerRecord { oldest_transaction_s: 4_000, ..healthy() }),
        ];
        for (code, level, record) in cases {
            let findings = server(&record, client());
            let bad: Vec<_> = findings.iter().filter(|finding| finding.level != Level::Ok).collect();
            assert_eq!(bad.len(), 1, "{code}: {bad:?}");
            assert_eq!((bad[0].code, bad[0].level), (code, level));
            assert!(bad[0].fix.is_some());
        }
    }

    #[test]
    fn clocks_are_compared_with_the_time_that_the_question_took() {
        let at = |before, database, after| {
            clock(Clocks { before: Micros(before), database: Micros(database), after: Micros(after) }).level
        };
        assert_eq!(at(0, 5_000_000, 9_000_000), Level::Ok);
        assert_eq!(at(0, 9_900_000, 9_000_000), Level::Ok);
        assert_eq!(at(0, 10_100_000, 9_000_000), Level::Warn);
        assert_eq!(at(5_000_000, 3_900_000, 5_100_000), Level::Warn);
    }

    #[test]
    fn tables_are_judged() {
        let good = [table("runs"), table("workers")];
        let expected = ["runs", "workers"];
        assert_eq!(grants(&good, &expected, "ann").level, Level::Ok);
        assert_eq!(grants(&good[..1], &expected, "ann").level, Level::Fail);
        let lacking = [table("runs"), TableRecord { missing: "INSERT, DELETE".to_owned(), ..table("workers") }];
        let finding = grants(&lacking, &expected, "ann");
        assert_eq!(finding.what, "this role lacks INSERT, DELETE on workers");
        assert_eq!(finding.fix.as_deref(), Some("GRANT opsroom_readwrite TO \"ann\""));
        assert_eq!((bloat(&good).level, vacuum(&healthy(), &good).level), (Level::Ok, Level::Ok));
        let dead = [TableRecord { dead: 60_000, ..table("runs") }];
        assert_eq!(bloat(&dead).level, Level::Warn);
        assert_eq!(bloat(&[TableRecord { dead: 60_000, live: 1_000_000, ..table("runs") }]).level, Level::Ok);
        let unswept = [TableRecord { is_vacuumed: false, ..table("runs") }];
        assert_eq!(vacuum(&healthy(), &unswept).level, Level::Fail);
        assert_eq!(vacuum(&ServerRecord { autovacuum: "off".to_owned(), ..healthy() }, &good).level, Level::Fail);
    }
}
