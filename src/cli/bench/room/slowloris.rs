//! `bench slowloris`: connections that send a byte a second, and everybody else.

use std::{
    cell::Cell,
    time::{Duration, Instant},
};

use futures::future::try_join_all;
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::sleep,
};

use super::{super::BenchError, Bench, Measure, Place, client::Target, figures::Figures, server::Server, work};

/// Clients that do what clients do, and how long each rests between two requests.
const CLIENTS: usize = 8;
const REST: Duration = Duration::from_millis(4);

/// Connections that send a byte a second, and what others notice of them
#[derive(Debug, Clone, clap::Args)]
pub struct Options {
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    connections: u32,
    /// How long the API is measured, without them and with them
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    #[command(flatten)]
    place: Place,
}

impl Measure for Options {
    const NAME: &'static str = "slowloris";

    fn place(&self) -> &Place {
        &self.place
    }

    async fn measure(&self, bench: &Bench) -> Result<Figures, BenchError> {
        bench.ground.runbook("noop", &work::chain(5))?;
        let server = Server::start(&bench.ground).await?;
        let mut client = server.client().await?;
        let run = work::start(&mut client, "noop", json!({})).await?;
        work::until_ended(&mut client, &run).await?;
        let path = format!("/v1/runs/{run}");
        // The first requests are nobody's.
        api(&server, &path, Duration::from_secs(1), &Cell::default()).await?;

        let span = Duration::from_secs(self.seconds);
        let before = api(&server, &path, span, &Cell::default()).await?;
        let resident = server.usage()?.resident;
        let stop = Cell::new(false);
        let closed = Cell::new(0_u64);
        let drips = (0..self.connections).map(|number| drip(&server.target, number, &stop, &closed));
        let (during, drips) = tokio::join!(api(&server, &path, span, &stop), try_join_all(drips));
        let during = during?;
        drips?;
        let after = api(&server, &path, span, &Cell::default()).await?;

        let mut figures = Figures::new(Self::NAME);
        figures.spread("without", &before);
        figures.spread("with", &during);
        figures.spread("afterwards", &after);
        // The machine is not the same from one minute to the next: quiet is measured before and after.
        let quiet = f64::midpoint(figures.get("without_p99_ms"), figures.get("afterwards_p99_ms"));
        figures.number("ratio", figures.get("with_p99_ms") / quiet.max(0.001));
        figures.count("connections", u64::from(self.connections));
        figures.count("closed_by_server", closed.get());
        figures.number("growth_mib", server.usage()?.resident.saturating_sub(resident) as f64 / f64::from(1 << 20));
        server.stop().await?;
        Ok(figures)
    }
}

/// What usual clients see for `span`; sets `stop` afterwards.
async fn api(server: &Server, path: &str, span: Duration, stop: &Cell<bool>) -> Result<Vec<Duration>, BenchError> {
    let began = Instant::now();
    let clients = (0..CLIENTS).map(|_| async move {
        let mut client = server.client().await?;
        work::probe(&mut client, path, REST, || began.elapsed() > span).await
    });
    let samples = try_join_all(clients).await;
    stop.set(true);
    Ok(samples?.concat())
}

/// Sends the head of a request, or a body, a byte a second, and connects again when the server has enough.
async fn drip(target: &Target, number: u32, stop: &Cell<bool>, closed: &Cell<u64>) -> Result<(), BenchError> {
    let (host, key) = (target.address, &target.key);
    let head = format!("POST /v1/runs HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {key}\r\n");
    let with_body = format!("{head}content-type: application/json\r\ncontent-length: 100000\r\n\r\n");
    // Not all in the same millisecond of each second.
    sleep(Duration::from_millis(u64::from(number) % 1_000)).await;
    while !stop.get() {
        let mut stream = TcpStream::connect(target.address).await?;
        // Half of them are slow with the head, half with the body.
        if number % 2 == 1 {
            stream.write_all(with_body.as_bytes()).await?;
        }
        let slow = if number % 2 == 1 { " ".repeat(100_000) } else { head.clone() };
        for byte in slow.as_bytes() {
            let mut answer = [0; 512];
            let over = tokio::select! {
                read = stream.read(&mut answer) => matches!(read, Ok(0) | Err(_)),
                () = sleep(Duration::from_secs(1)) => stream.write_all(&[*byte]).await.is_err(),
            };
            if over {
                closed.set(closed.get() + 1);
                break;
            }
            if stop.get() {
                return Ok(());
            }
        }
    }
    Ok(())
}
