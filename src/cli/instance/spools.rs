//! The spools of the workers of a machine: each has a folder of its own, and what a dead one left is sent by the next.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    control::Uploads,
    model::WorkerId,
    system::{FlockLiveness, FolderSpool},
};

/// The folder of a worker's spool.
pub fn of(spools: &Path, worker: WorkerId) -> PathBuf {
    spools.join(format!("worker-{worker}"))
}

/// Sends what dead workers of this machine have left in their spools, and removes those.
pub async fn take_over(spools: PathBuf, locks: FlockLiveness, uploads: Uploads) {
    let left = match left(&spools) {
        Ok(left) => left,
        Err(error) => return tracing::warn!(%error, "the spools of dead workers cannot be looked for"),
    };
    let workers: Vec<WorkerId> = left.iter().map(|(worker, _)| *worker).collect();
    let dead = locks.dead(&workers);
    for (worker, folder) in left.into_iter().filter(|(worker, _)| dead.contains(worker)) {
        if let Err(error) = send(&uploads, &folder).await {
            tracing::warn!(%worker, %error, "what a dead worker left in its spool could not be sent; the next start tries again");
        }
    }
}

async fn send(uploads: &Uploads, folder: &Path) -> Result<(), String> {
    let spool = FolderSpool::new(folder.to_owned()).map_err(|error| error.to_string())?;
    uploads.take_over(Arc::new(spool)).await.map_err(|error| error.to_string())?;
    match std::fs::remove_dir_all(folder) {
        // Another worker that started at the same time was faster.
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.to_string()),
        _ => Ok(()),
    }
}

fn left(spools: &Path) -> io::Result<Vec<(WorkerId, PathBuf)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(spools)? {
        let entry = entry?;
        let name = entry.file_name();
        let worker = name.to_str().and_then(|name| name.strip_prefix("worker-")).and_then(|id| id.parse().ok());
        if let Some(worker) = worker {
            found.push((WorkerId(worker), entry.path()));
        }
    }
    Ok(found)
}
