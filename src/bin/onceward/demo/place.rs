//! Where the demo keeps its stores: the directory it was given, or one of its own that goes again.

use std::fs::{self, DirBuilder};
use std::path::{Path, PathBuf};

use super::random;
use crate::Failure;

/// A directory for the stores.
pub(crate) struct Place {
    root: PathBuf,
    goes: bool,
}

impl Place {
    /// The directory `given`, made when there is none; or a new temporary one, which is removed
    /// with this value.
    pub(crate) fn new(given: Option<PathBuf>) -> Result<Self, Failure> {
        let goes = given.is_none();
        let root = match given {
            Some(given) => given,
            None => std::env::temp_dir().join(random::named("onceward-demo-")?),
        };
        let mut builder = DirBuilder::new();
        // A temporary one must not be somebody else's; who gives a directory means that one.
        builder.recursive(!goes);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder
            .create(&root)
            .map_err(|error| Failure::Failed(format!("{}: {error}", root.display())))?;
        Ok(Self { root, goes })
    }

    /// The directory itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Whether the directory is removed at the end.
    pub(crate) fn is_temporary(&self) -> bool {
        self.goes
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.goes {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.root) {
            eprintln!("onceward: {} could not be removed: {error}", self.root.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_one_goes_with_what_is_in_it() {
        let place = Place::new(None).unwrap();
        let root = place.root().to_owned();
        fs::write(root.join("file"), "text").unwrap();
        assert!(place.is_temporary());
        drop(place);
        assert!(!root.exists());
    }

    #[test]
    fn a_given_one_stays() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("a").join("b");
        drop(Place::new(Some(root.clone())).unwrap());
        assert!(root.is_dir());
    }
}
