//! A page with a gap for the nonce: it is prepared once for everybody who sees the same, and each answer puts a nonce
//! of its own into the gap while it is sent. Compressed pages have the gap too, so that nothing is compressed for a
//! visitor.
//!
//! The gap of a compressed page is a *stored* block of deflate (RFC 1951 §3.2.4) between two parts that end at a byte.
//! The compressor saw as many bytes there as will be: so distances over the gap are right. It saw a byte that stands
//! nowhere else in the page: so nothing refers into the gap. The checksum at the end (RFC 1952 §2.3.1) is put together
//! from those of the three parts.

use bytes::Bytes;
use crc32fast::Hasher;
use flate2::{Compress, Compression, FlushCompress, Status};

/// How long a nonce is, in bytes.
pub const GAP_LENGTH: usize = 72;

/// What a page is rendered with in place of a nonce: a character that stands in no page.
pub const GAP: &str = match str::from_utf8(&[GAP_BYTE; GAP_LENGTH]) {
    Ok(gap) => gap,
    Err(_) => panic!("it is ASCII"),
};

const GAP_BYTE: u8 = 1;

/// The head of a gzip file (RFC 1952 §2.3): deflate, without a name or a time, from an unknown system.
const HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

/// The checksum and the length at the end of one.
const SEAL_LENGTH: usize = 8;

/// The head of a stored block that isn't the last, for the gap: its length, and that with all bits turned.
const STORED: [u8; 5] = {
    let [low, high] = (GAP_LENGTH as u16).to_le_bytes();
    [0, low, high, !low, !high]
};

/// How the bytes of an answer are coded (RFC 9110 §8.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coding {
    /// Not at all.
    Plain,
    /// gzip.
    Gzip,
}

/// A document, cut where its gap is.
#[derive(Clone, Debug, Default)]
pub struct Sheet {
    before: Bytes,
    /// None: there is no gap.
    after: Option<Bytes>,
    /// What a compressed document ends with is made for each nonce.
    sums: Option<Sums>,
}

/// The checksums of the document before and behind its gap.
#[derive(Clone, Debug)]
struct Sums {
    before: Hasher,
    after: Hasher,
    length: u32,
}

/// The pieces of a document, in their order. Some are empty.
#[derive(Clone, Copy, Debug)]
pub struct Filled<'a> {
    before: &'a [u8],
    nonce: &'a [u8],
    after: &'a [u8],
    seal: [u8; SEAL_LENGTH],
    seal_length: usize,
}

impl Filled<'_> {
    /// They are to be sent one behind the other.
    #[must_use]
    pub fn pieces(&self) -> [&[u8]; 4] {
        let seal = &self.seal[..self.seal_length];
        [self.before, self.nonce, self.after, seal]
    }
}

impl Sheet {
    /// A document that was rendered with [`GAP`] in one place.
    #[must_use]
    pub fn cut(document: &Bytes) -> Sheet {
        match gap(document) {
            Some(start) => Sheet {
                before: document.slice(..start),
                after: Some(document.slice(start + GAP_LENGTH..)),
                sums: None,
            },
            None => document.clone().into(),
        }
    }

    /// The same document, compressed; none for one in which the gap can't be told from the rest.
    #[must_use]
    pub fn gzip(document: &[u8]) -> Option<Sheet> {
        if !document.contains(&GAP_BYTE) {
            return gzip_whole(document);
        }
        let start = gap(document)?;
        let (before, rest) = document.split_at(start);
        let (gap, after) = rest.split_at(GAP_LENGTH);
        if after.contains(&GAP_BYTE) {
            return None;
        }
        let mut packer = Compress::new(Compression::best(), false);
        let mut packed_before = HEAD.to_vec();
        pack(&mut packer, before, &mut packed_before, FlushCompress::Sync)?;
        packed_before.extend(STORED);
        // As the reader will have it, but for what it says.
        pack(&mut packer, gap, &mut Vec::new(), FlushCompress::Sync)?;
        let mut packed_after = Vec::new();
        pack(&mut packer, after, &mut packed_after, FlushCompress::Finish)?;
        Some(Sheet {
            before: packed_before.into(),
            after: Some(packed_after.into()),
            sums: Some(Sums {
                before: summed(Hasher::new(), before),
                after: summed(Hasher::new(), after),
                length: u32::try_from(document.len()).ok()?,
            }),
        })
    }

    /// Its length with a nonce, in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        let gap_and_after = |after: &Bytes| GAP_LENGTH + after.len();
        let seal = self.sums.as_ref().map_or(0, |_| SEAL_LENGTH);
        self.before.len() + self.after.as_ref().map_or(0, gap_and_after) + seal
    }

    /// The document with this nonce, which must have [`GAP_LENGTH`]; without a gap it goes nowhere.
    #[must_use]
    pub fn filled<'a>(&'a self, nonce: &'a str) -> Filled<'a> {
        debug_assert!(self.after.is_none() || nonce.len() == GAP_LENGTH);
        let (nonce, after) = match &self.after {
            Some(after) => (nonce.as_bytes(), after.as_ref()),
            None => (&b""[..], &b""[..]),
        };
        Filled {
            before: &self.before,
            nonce,
            after,
            seal: self
                .sums
                .as_ref()
                .map_or_else(Default::default, |sums| sums.seal(nonce)),
            seal_length: self.sums.as_ref().map_or(0, |_| SEAL_LENGTH),
        }
    }

    /// The document with this nonce, in one piece.
    #[must_use]
    pub fn whole(&self, nonce: &str) -> Bytes {
        match &self.after {
            Some(_) => self.filled(nonce).pieces().concat().into(),
            None => self.before.clone(),
        }
    }
}

impl From<Bytes> for Sheet {
    /// A document without a gap.
    fn from(document: Bytes) -> Sheet {
        Sheet {
            before: document,
            ..Sheet::default()
        }
    }
}

impl Sums {
    fn seal(&self, nonce: &[u8]) -> [u8; SEAL_LENGTH] {
        let mut sum = summed(self.before.clone(), nonce);
        sum.combine(&self.after);
        let mut seal = [0; SEAL_LENGTH];
        seal[..4].copy_from_slice(&sum.finalize().to_le_bytes());
        seal[4..].copy_from_slice(&self.length.to_le_bytes());
        seal
    }
}

/// A document without a gap, compressed.
fn gzip_whole(document: &[u8]) -> Option<Sheet> {
    let mut packer = Compress::new(Compression::best(), false);
    let mut packed = HEAD.to_vec();
    pack(&mut packer, document, &mut packed, FlushCompress::Finish)?;
    let sum = summed(Hasher::new(), document).finalize();
    packed.extend(sum.to_le_bytes());
    packed.extend(u32::try_from(document.len()).ok()?.to_le_bytes());
    Some(Bytes::from(packed).into())
}

fn gap(document: &[u8]) -> Option<usize> {
    let start = document.iter().position(|byte| *byte == GAP_BYTE)?;
    document[start..]
        .starts_with(GAP.as_bytes())
        .then_some(start)
}

fn summed(mut sum: Hasher, bytes: &[u8]) -> Hasher {
    sum.update(bytes);
    sum
}

/// Compresses these bytes up to a whole byte.
fn pack(
    packer: &mut Compress,
    bytes: &[u8],
    packed: &mut Vec<u8>,
    flush: FlushCompress,
) -> Option<()> {
    // Deflate makes nothing longer than by a few bytes for each 16 KiB; a flush adds a few more.
    packed.reserve(bytes.len() + bytes.len() / 1_024 + 64);
    let (start, out) = (packer.total_in(), packed.len());
    let status = packer.compress_vec(bytes, packed, flush).ok()?;
    let all = packer.total_in() - start == u64::try_from(bytes.len()).ok()?;
    let ended = match flush {
        FlushCompress::Finish => status == Status::StreamEnd,
        // There was room left, so nothing was held back (zlib's manual, deflate).
        _ => packed.len() < packed.capacity() && packed.len() > out,
    };
    packed.shrink_to_fit();
    (all && ended).then_some(())
}

#[cfg(test)]
mod tests;
