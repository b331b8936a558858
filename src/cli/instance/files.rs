//! The contents of artifacts of an instance.

use std::{io, sync::Arc};

use super::unusable;
use crate::{
    cli::{config::Config, fault::Fault},
    ports::{Artifacts, Probe},
    system::FolderArtifacts,
};

/// Where artifacts, archives and the files of runbooks are.
#[derive(Clone)]
pub struct Files {
    pub artifacts: Arc<dyn Artifacts>,
    pub probe: Arc<dyn Probe>,
    /// The folder, if it is one.
    folder: Option<Arc<FolderArtifacts>>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Files {
    /// The folder in the data folder.
    pub fn open(config: &Config) -> Result<Files, Fault> {
        let folder = FolderArtifacts::new(config.data.artifacts()).map_err(|error| unusable(config, &error))?;
        let folder = Arc::new(folder);
        Ok(Files { artifacts: folder.clone(), probe: folder.clone(), folder: Some(folder) })
    }

    /// Removes what processes left unfinished when they died, a day after. Blocks.
    pub fn tidy(&self) -> io::Result<()> {
        self.folder.as_ref().map_or(Ok(()), |folder| folder.tidy())
    }
}
