//! Bytes with something known about them before them.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Length of the length.
const LENGTH: usize = 4;

/// `about` and `bytes` as one.
pub(super) fn pack(about: &impl Serialize, bytes: &[u8]) -> Result<Bytes, String> {
    let about = serde_json::to_vec(about).map_err(|error| error.to_string())?;
    let length = u32::try_from(about.len()).map_err(|_| String::from("it is too long"))?;
    let mut packed = Vec::with_capacity(LENGTH + about.len() + bytes.len());
    packed.extend_from_slice(&length.to_be_bytes());
    packed.extend_from_slice(&about);
    packed.extend_from_slice(bytes);
    Ok(Bytes::from(packed))
}

/// What [`pack`] made one; none if somebody else made it.
pub(super) fn unpack<T: DeserializeOwned>(packed: &Bytes) -> Option<(T, Bytes)> {
    let length = packed.first_chunk::<LENGTH>()?;
    let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
    let end = LENGTH.checked_add(length)?;
    let about = packed.get(LENGTH..end)?;
    let about = serde_json::from_slice(about).ok()?;
    Some((about, packed.slice(end..)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_out_and_nonsense_does_not() {
        let packed = pack(&"about", b"bytes").unwrap();
        let (about, bytes): (String, Bytes) = unpack(&packed).unwrap();
        assert_eq!(
            (about.as_str(), bytes.as_ref()),
            ("about", b"bytes".as_ref())
        );
        for odd in ["", "abc", "\0\0\0\u{9}\"about\"", "\0\0\0\u{2}{{xyz"] {
            let odd = Bytes::copy_from_slice(odd.as_bytes());
            assert!(unpack::<String>(&odd).is_none(), "{odd:?}");
        }
    }
}
