//! Paths as the seam takes them: relative, `/` between names, nothing that leads elsewhere.

use std::io;

/// The names along `path`, none for the store's directory `""`.
///
/// `InvalidInput` for an absolute path, an empty name, `.`, `..` or a name with a NUL: every path
/// stands below the store's directory by its spelling alone.
pub(super) fn components(path: &str) -> io::Result<Vec<&str>> {
    if path.is_empty() {
        return Ok(Vec::new());
    }
    path.split('/')
        .map(|name| match name {
            "" | "." | ".." => Err(refused(path)),
            _ if name.contains('\0') => Err(refused(path)),
            _ => Ok(name),
        })
        .collect()
}

/// The directory of the file `path` (`""` for the store's own) and its name in it.
pub(super) fn split(path: &str) -> io::Result<(&str, &str)> {
    if components(path)?.is_empty() {
        return Err(refused(path));
    }
    Ok(path.rsplit_once('/').unwrap_or(("", path)))
}

/// The directory both files are in, and their names. `InvalidInput` when they are in two.
pub(super) fn split_pair<'a>(
    from: &'a str,
    to: &'a str,
) -> io::Result<(&'a str, &'a str, &'a str)> {
    let (from_dir, from_name) = split(from)?;
    let (to_dir, to_name) = split(to)?;
    if from_dir != to_dir {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{from:?} and {to:?} are not in one directory"),
        ));
    }
    Ok((from_dir, from_name, to_name))
}

fn refused(path: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("{path:?} is not a path below the store's directory"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_leads_elsewhere_is_refused() {
        for path in ["/", "/etc", "..", "a/..", "../a", "a/../b", ".", "./a", "a//b", "a/", "a\0b"]
        {
            let error = components(path).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{path:?}");
            assert!(split(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn a_path_falls_into_its_directory_and_its_name() {
        assert_eq!(components("").unwrap(), Vec::<&str>::new());
        assert_eq!(components("a/b..c/.d").unwrap(), ["a", "b..c", ".d"]);
        assert_eq!(split("a/b/c").unwrap(), ("a/b", "c"));
        assert_eq!(split("c").unwrap(), ("", "c"));
        assert!(split("").is_err(), "the store's directory is no file");
        assert_eq!(split_pair("a/b", "a/c").unwrap(), ("a", "b", "c"));
        assert!(split_pair("a/b", "c").is_err());
    }
}
