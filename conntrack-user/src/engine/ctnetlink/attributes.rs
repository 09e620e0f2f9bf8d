//! Attributes: length, type, value, and attributes within attributes.

use super::bytes;

/// `struct nlattr`
const HEADER: usize = 4;
/// `~(NLA_F_NESTED | NLA_F_NET_BYTEORDER)`
const TYPE: u16 = 0x3fff;

/// The attributes in some bytes; ends at the first whose length makes no sense.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

/// One attribute.
#[derive(Clone, Copy, Debug)]
pub struct Attribute<'a> {
    /// Its type, which means something within its parent only.
    pub kind: u16,
    value: &'a [u8],
}

impl<'a> Attributes<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let length = usize::from(u16::from_ne_bytes(bytes(self.rest, 0)?));
        let kind = u16::from_ne_bytes(bytes(self.rest, 2)?) & TYPE;
        let value = self.rest.get(HEADER..length)?;
        self.rest = self.rest.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(Attribute { kind, value })
    }
}

impl<'a> Attribute<'a> {
    /// What is nested in it.
    pub fn nested(self) -> Attributes<'a> {
        Attributes::new(self.value)
    }

    /// Its first `N` bytes, in network order as they stand.
    pub fn bytes<const N: usize>(self) -> Option<[u8; N]> {
        bytes(self.value, 0)
    }

    pub fn u8(self) -> Option<u8> {
        self.value.first().copied()
    }

    pub fn u16(self) -> Option<u16> {
        self.bytes().map(u16::from_be_bytes)
    }

    pub fn u32(self) -> Option<u32> {
        self.bytes().map(u32::from_be_bytes)
    }

    pub fn u64(self) -> Option<u64> {
        self.bytes().map(u64::from_be_bytes)
    }
}
