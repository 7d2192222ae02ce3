//! Bytes that most owners do not have.
//!
//! In: bytes, or none. Out: the same.
//! Law: takes a pointer's place while there are none, and one word more on the heap while there are some.

/// Bytes in a box of their own, or none.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Rare(Option<Box<Box<[u8]>>>);

impl Rare {
    /// No bytes.
    pub const NONE: Self = Self(None);

    /// Whether there are bytes.
    pub fn is_some(&self) -> bool {
        self.0.is_some()
    }

    /// Whether there are none.
    pub fn is_none(&self) -> bool {
        self.0.is_none()
    }

    /// The bytes.
    pub fn as_deref(&self) -> Option<&[u8]> {
        self.0.as_deref().map(|bytes| &**bytes)
    }

    /// Takes the bytes out.
    #[must_use]
    pub fn take(&mut self) -> Self {
        Self(self.0.take())
    }

    /// The bytes, or those of another if there are none.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self(self.0.or(other.0))
    }

    /// The bytes, if `keeps` is true of them.
    #[must_use]
    pub fn filter(self, keeps: impl FnOnce(&[u8]) -> bool) -> Self {
        Self(self.0.filter(|bytes| keeps(bytes)))
    }
}

impl From<&[u8]> for Rare {
    fn from(bytes: &[u8]) -> Self {
        Self(Some(Box::new(bytes.into())))
    }
}

impl From<Option<Box<[u8]>>> for Rare {
    fn from(bytes: Option<Box<[u8]>>) -> Self {
        Self(bytes.map(Box::new))
    }
}
