//! A folder of runbooks that somebody edits.

use std::sync::Arc;

use async_trait::async_trait;

use crate::runbook::Beside;

/// A runbook file as it was read, with the files that belong to it.
#[derive(Debug, PartialEq, Eq)]
pub struct FolderText {
    pub text: Arc<str>,
    pub beside: Beside,
}

/// One runbook file of the folder.
#[derive(Debug, Clone)]
pub struct FolderFile {
    /// Below the folder, `/` between its parts.
    pub path: String,
    /// As long as nothing changes, every scan answers the same `Arc`. Else why it cannot be read.
    pub content: Result<Arc<FolderText>, String>,
}

/// The folder at one moment.
#[derive(Debug, Clone, Default)]
pub struct FolderScan {
    /// By path.
    pub files: Vec<FolderFile>,
    /// Why the folder itself cannot be read; then `files` says nothing.
    pub problem: Option<String>,
}

/// Watches a folder.
#[async_trait]
pub trait RunbookFolder: Send + Sync {
    /// Everything that is there. A file that is being written is answered as it was before, or not at all,
    /// and makes [`RunbookFolder::changed`] end again soon.
    async fn scan(&self) -> FolderScan;

    /// Ends when the folder may have changed since the last scan began, or when it is time to look anyway.
    async fn changed(&self);

    /// How people call the folder.
    fn name(&self) -> String;
}
