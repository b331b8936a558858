//! The contents of artifacts, piece by piece: nothing is held in memory.

use std::path::Path;

use bytes::Bytes;
use futures::{StreamExt, stream};
use reqwest::{
    Body, Method, StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, RANGE},
};
use sha2::{Digest as _, Sha256};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncWrite, AsyncWriteExt},
};

use super::{
    Client, ClientError,
    transport::{pause, segment, target},
};
use crate::{
    api::{Artifact, UploadArtifactQuery},
    model::{Digest, RunId},
    ports::Ids as _,
    system::RandomIds,
};

/// Bytes that are read at once.
const PIECE: usize = 64 * 1024;

/// Interruptions in a row, without a byte between them, that a download survives.
const PATIENCE: u32 = 5;

impl Client {
    /// Adds a file to a run. `progress` is told the bytes sent so far.
    pub async fn upload_artifact(
        &self,
        run: RunId,
        query: &UploadArtifactQuery,
        file: &Path,
        progress: impl Fn(u64) + Send + Sync + Clone + 'static,
    ) -> Result<Artifact, ClientError> {
        let target = target(&format!("/v1/runs/{}/artifacts", segment(run)), query);
        let key = RandomIds.request_id().to_string();
        let patient = self.for_uploads()?;
        let mut tries = 1;
        loop {
            let file = File::open(file).await?;
            let length = file.metadata().await?.len();
            let request = patient
                .request(Method::POST, &target)
                .header("idempotency-key", &key)
                .header(CONTENT_TYPE, "application/octet-stream")
                .header(CONTENT_LENGTH, length)
                .body(content(file, progress.clone()));
            let error = match self.once(request).await {
                Ok(response) => {
                    let status = response.status();
                    let bytes = response.bytes().await.map_err(|error| ClientError::unreachable(self.url(), &error))?;
                    return serde_json::from_slice(&bytes).map_err(|error| self.foreign(status, &error));
                }
                Err(error) => error,
            };
            if tries >= PATIENCE || !error.is_passing() {
                return Err(error);
            }
            tokio::time::sleep(pause(tries)).await;
            tries += 1;
        }
    }

    /// Writes the content of an artifact, and checks that it is the one that was stored. A download that breaks
    /// off continues where it stopped. `progress` is told the bytes received so far.
    pub async fn download_artifact(
        &self,
        artifact: &Artifact,
        into: &mut (impl AsyncWrite + Unpin),
        progress: impl Fn(u64),
    ) -> Result<(), ClientError> {
        let target = format!("/v1/artifacts/{}/content", segment(artifact.id));
        let (mut received, mut hash, mut failures) = (0, Sha256::new(), 0);
        loop {
            let before = received;
            let piece = Piece { received: &mut received, hash: &mut hash, progress: &progress };
            let error = match self.receive(&target, into, piece).await {
                Ok(()) if Digest(hash.clone().finalize().into()) == artifact.digest => return Ok(into.flush().await?),
                Ok(()) => return Err(ClientError::Damaged { name: artifact.name.clone() }),
                Err(error) => error,
            };
            failures = if received > before { 1 } else { failures + 1 };
            if failures >= PATIENCE || !error.is_passing() {
                return Err(error);
            }
            tracing::debug!(%error, received, "the download is continued");
            tokio::time::sleep(pause(failures)).await;
        }
    }

    /// Receives what is left.
    async fn receive(
        &self,
        target: &str,
        into: &mut (impl AsyncWrite + Unpin),
        piece: Piece<'_, impl Fn(u64)>,
    ) -> Result<(), ClientError> {
        let request = self.request(Method::GET, target);
        let resumed = *piece.received > 0;
        let request = if resumed { request.header(RANGE, format!("bytes={}-", piece.received)) } else { request };
        let response = self.once(request).await?;
        if resumed && response.status() != StatusCode::PARTIAL_CONTENT {
            return Err(self.foreign(response.status(), &"it does not continue where the download broke off"));
        }
        let mut bytes = response.bytes_stream();
        while let Some(next) = bytes.next().await {
            let next = next.map_err(|error| ClientError::unreachable(self.url(), &error))?;
            into.write_all(&next).await?;
            piece.hash.update(&next);
            *piece.received += next.len() as u64;
            (piece.progress)(*piece.received);
        }
        Ok(())
    }
}

/// How far a download is.
struct Piece<'a, P> {
    received: &'a mut u64,
    hash: &'a mut Sha256,
    progress: &'a P,
}

/// A file as the body of a request.
fn content(file: File, progress: impl Fn(u64) + Send + Sync + 'static) -> Body {
    let pieces = stream::try_unfold((file, 0_u64, progress), async |(mut file, sent, progress)| {
        let mut piece = vec![0; PIECE];
        let length = file.read(&mut piece).await?;
        if length == 0 {
            return Ok::<_, std::io::Error>(None);
        }
        piece.truncate(length);
        let sent = sent + length as u64;
        progress(sent);
        Ok(Some((Bytes::from(piece), (file, sent, progress))))
    });
    Body::wrap_stream(pieces)
}
