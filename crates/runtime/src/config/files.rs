//! Secrets live in files of their own, readable by their owner only.

use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use super::Secret;

/// Largest secret, in bytes: a key or a token, not a document.
const SECRET_BYTES_MAX: u64 = 64 * 1024;

/// Why a secret could not be read or kept.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {why}")]
pub struct SecretFileError {
    path: String,
    why: String,
}

impl SecretFileError {
    fn new(path: &Path, why: impl std::fmt::Display) -> Self {
        Self {
            path: path.display().to_string(),
            why: why.to_string(),
        }
    }
}

/// Reads a secret from a file.
///
/// # Errors
/// The file cannot be read, is empty, is not UTF-8 or is larger than a secret can be.
pub fn read_secret(path: &Path) -> Result<Secret, SecretFileError> {
    let size = std::fs::metadata(path)
        .map_err(|error| SecretFileError::new(path, error))?
        .len();
    if size > SECRET_BYTES_MAX {
        return Err(SecretFileError::new(
            path,
            format_args!("{size} bytes are no secret; the limit is {SECRET_BYTES_MAX}"),
        ));
    }
    let text = std::fs::read_to_string(path).map_err(|error| SecretFileError::new(path, error))?;
    let secret = Secret::new(&text);
    if secret.expose().is_empty() {
        return Err(SecretFileError::new(
            path,
            "the file is empty; write the secret into it",
        ));
    }
    Ok(secret)
}

/// Writes a new file that only its owner can read; an existing one is left as it is.
/// Returns whether it was made.
///
/// # Errors
/// The file cannot be made.
pub fn write_private(path: &Path, text: &str) -> Result<bool, SecretFileError> {
    let file = std::fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let mut file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::AlreadyExists => return Ok(false),
        Err(error) => return Err(SecretFileError::new(path, error)),
    };
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .map_err(|error| SecretFileError::new(path, error))?;
    Ok(true)
}
