//! The runbooks that come with opsroom.

/// A runbook that is part of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shipped {
    pub name: &'static str,
    /// Its file in the folder `runbooks/` of the sources.
    pub file: &'static str,
    pub text: &'static str,
}

macro_rules! shipped {
    ($($name:literal),* $(,)?) => {
        /// By name.
        pub const SHIPPED: &[Shipped] = &[$(Shipped {
            name: $name,
            file: concat!($name, ".yaml"),
            text: include_str!(concat!("../../runbooks/", $name, ".yaml")),
        },)*];
    };
}

shipped!["disk-usage", "git-build-test", "http-health", "log-cleanup", "tls-expiry"];

impl Shipped {
    /// The one of this name.
    pub fn find(name: &str) -> Option<&'static Shipped> {
        SHIPPED.iter().find(|shipped| shipped.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_of_the_folder_are_shipped() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("runbooks");
        let mut files: Vec<_> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        files.retain(|file| file.split('.').next_back() == Some("yaml"));
        files.sort();
        assert_eq!(files, SHIPPED.iter().map(|shipped| shipped.file).collect::<Vec<_>>());
        for shipped in SHIPPED {
            assert_eq!(crate::runbook::name_of(shipped.text).as_deref(), Some(shipped.name));
        }
    }
}
