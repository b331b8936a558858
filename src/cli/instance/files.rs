//! The contents of artifacts of an instance.

use std::{io, path::Path, sync::Arc, time::Duration};

use super::unusable;
use crate::{
    cli::{
        config::{ArtifactsPlace, Config},
        fault::{Fault, io_fault},
    },
    ports::{Artifacts, Probe},
    system::{FolderArtifacts, ObjectArtifacts, ObjectConfig},
};

/// How long the end of a process waits for given-up uploads to be taken back.
const LAST: Duration = Duration::from_secs(5);

/// Where artifacts, archives and the files of runbooks are.
#[derive(Clone)]
pub struct Files {
    pub artifacts: Arc<dyn Artifacts>,
    pub probe: Arc<dyn Probe>,
    /// The folder, if it is one.
    folder: Option<Arc<FolderArtifacts>>,
    /// The object store, if it is one.
    objects: Option<Arc<ObjectArtifacts>>,
}

impl std::fmt::Debug for Files {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Files").field("folder", &self.folder).field("objects", &self.objects).finish_non_exhaustive()
    }
}

impl Files {
    /// Where the configuration says.
    pub fn open(config: &Config) -> Result<Files, Fault> {
        match &config.artifacts.place {
            ArtifactsPlace::DataFolder => {
                Files::folder(&config.data.artifacts()).map_err(|error| unusable(config, &error))
            }
            ArtifactsPlace::Folder(path) => Files::folder(path).map_err(|error| {
                io_fault("ARTIFACTS_UNUSABLE", &format!("the folder `{}`", path.display()), &error)
                    .help("OPSROOM_ARTIFACTS_URL names a folder that this user may write to")
            }),
            ArtifactsPlace::Objects(objects) => Files::objects(objects),
        }
    }

    fn folder(path: &Path) -> io::Result<Files> {
        let folder = Arc::new(FolderArtifacts::new(path)?);
        Ok(Files { artifacts: folder.clone(), probe: folder.clone(), folder: Some(folder), objects: None })
    }

    fn objects(config: &ObjectConfig) -> Result<Files, Fault> {
        let objects = ObjectArtifacts::new(config).map_err(|error| {
            Fault::refused("BAD_CONFIG", format!("OPSROOM_ARTIFACTS_URL: {error}"))
                .help("see docs/artifacts.md: region, endpoint and credentials are in the AWS_* variables")
        })?;
        let objects = Arc::new(objects);
        Ok(Files { artifacts: objects.clone(), probe: objects.clone(), folder: None, objects: Some(objects) })
    }

    /// Removes what processes left unfinished when they died, a day after. Blocks.
    pub fn tidy(&self) -> io::Result<()> {
        self.folder.as_ref().map_or(Ok(()), |folder| folder.tidy())
    }

    /// Waits until nothing is half stored any more.
    pub async fn close(self) {
        if let Some(objects) = self.objects {
            objects.close(LAST).await;
        }
    }
}
