//! Compressed bodies, unpacked as they come: pure, resumable, and never more at a time than there is room for.

use flate2::{Decompress, FlushDecompress, Status};
use thiserror::Error;
use zstd::stream::raw::{DParameter, Decoder, InBuffer, Operation, OutBuffer};

use super::snappy::{Frames, NotSnappy};

/// The widest window of a zstd frame, as a power of two: 8 MiB, what RFC 9659 allows for content encodings.
const ZSTD_WINDOW_LOG: u32 = 23;

/// The only window that gzip has, as a power of two.
const GZIP_WINDOW_LOG: u8 = 15;

/// About what a gzip decoder holds.
const GZIP_BYTES: usize = 48 << 10;

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// As it is.
    Identity,
    /// RFC 1952; several members one after the other are one body.
    Gzip,
    /// RFC 8878; several frames one after the other are one body.
    Zstd,
    /// One block, or the framing format.
    Snappy,
}

/// Bytes that are not what their coding says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Corrupt {
    /// Not gzip.
    #[error("the body is not gzip")]
    Gzip,
    /// Not zstd, or with a wider window than allowed.
    #[error("the body is not zstd with a window of at most 8 MiB")]
    Zstd,
    /// Not Snappy.
    #[error("the body is not snappy: {0}")]
    Snappy(#[from] NotSnappy),
    /// It ends too early.
    #[error("the compressed body ends too early")]
    CutOff,
}

/// Unpacks one body.
pub(super) enum Inflate {
    /// Copies.
    Identity,
    /// `is_within`: whether a member has begun and not ended.
    Gzip { decoder: Box<Decompress>, is_within: bool },
    /// As above, for frames.
    Zstd { decoder: Box<Decoder<'static>>, is_within: bool, num_unpacked: usize },
    /// A decoder of our own.
    Snappy(Frames),
}

// === impl Coding ===

impl Coding {
    /// The coding that a Content-Encoding header names.
    pub(super) fn of(name: &str) -> Option<Self> {
        Some(match name.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Self::Identity,
            "gzip" | "x-gzip" => Self::Gzip,
            "zstd" => Self::Zstd,
            "snappy" | "x-snappy-framed" => Self::Snappy,
            _ => return None,
        })
    }
}

// === impl Inflate ===

impl Inflate {
    /// A decoder for one body. `max_block` bounds what one Snappy block may claim to unpack to, in bytes.
    pub(super) fn new(coding: Coding, max_block: usize) -> Result<Self, Corrupt> {
        Ok(match coding {
            Coding::Identity => Self::Identity,
            Coding::Gzip => Self::Gzip { decoder: Box::new(Decompress::new_gzip(GZIP_WINDOW_LOG)), is_within: false },
            Coding::Zstd => {
                let mut decoder = Decoder::new().map_err(|_| Corrupt::Zstd)?;
                decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG)).map_err(|_| Corrupt::Zstd)?;
                Self::Zstd { decoder: Box::new(decoder), is_within: false, num_unpacked: 0 }
            }
            Coding::Snappy => Self::Snappy(Frames::new(max_block)),
        })
    }

    /// Bytes that the decoder itself holds, or is about to hold.
    pub(super) fn num_held(&self) -> usize {
        match self {
            Self::Identity => 0,
            Self::Gzip { .. } => GZIP_BYTES,
            // The window is there from the start, but takes memory only as it is written to.
            Self::Zstd { num_unpacked, .. } => (*num_unpacked).min(1 << ZSTD_WINDOW_LOG),
            Self::Snappy(frames) => frames.num_held(),
        }
    }

    /// Unpacks from the front of `input`, which is advanced, until it is used up or about `room` bytes more are in `out`.
    /// Without input it gives what found no room before.
    pub(super) fn run(&mut self, input: &mut &[u8], out: &mut Vec<u8>, room: usize) -> Result<(), Corrupt> {
        let end = out.len() + room;
        match self {
            Self::Identity => {
                let (taken, rest) = input.split_at(room.min(input.len()));
                out.extend_from_slice(taken);
                *input = rest;
            }
            Self::Gzip { decoder, is_within } => {
                while out.len() < end {
                    out.reserve(end - out.len());
                    let (before, start) = (out.len(), decoder.total_in());
                    let status =
                        decoder.decompress_vec(input, out, FlushDecompress::None).map_err(|_| Corrupt::Gzip)?;
                    let num_taken = (decoder.total_in() - start) as usize;
                    *input = input.get(num_taken..).unwrap_or_default();
                    let has_moved = num_taken > 0 || out.len() > before;
                    *is_within = status != Status::StreamEnd && (*is_within || has_moved);
                    if status == Status::StreamEnd {
                        // Its own reset would go on without the headers of gzip.
                        **decoder = Decompress::new_gzip(GZIP_WINDOW_LOG);
                    } else if !has_moved && !input.is_empty() {
                        return Err(Corrupt::Gzip);
                    }
                    if input.is_empty() && (!has_moved || out.len() < end) {
                        break;
                    }
                }
            }
            Self::Zstd { decoder, is_within, num_unpacked } => {
                while out.len() < end {
                    out.reserve(end - out.len());
                    let before = out.len();
                    let mut from = InBuffer::around(input);
                    let mut to = OutBuffer::around_pos(out, before);
                    let hint = decoder.run(&mut from, &mut to).map_err(|_| Corrupt::Zstd)?;
                    let num_taken = from.pos();
                    *input = input.get(num_taken..).unwrap_or_default();
                    *num_unpacked += out.len() - before;
                    let has_moved = num_taken > 0 || out.len() > before;
                    if has_moved {
                        *is_within = hint != 0;
                    }
                    if !has_moved || input.is_empty() && out.len() < end {
                        break;
                    }
                }
            }
            Self::Snappy(frames) => frames.run(input, out, end)?,
        }
        Ok(())
    }

    /// Whether `out` may get more although all input is used up.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) -> Result<(), Corrupt> {
        match self {
            Self::Identity => Ok(()),
            Self::Gzip { is_within, .. } | Self::Zstd { is_within, .. } => match is_within {
                true => Err(Corrupt::CutOff),
                false => Ok(()),
            },
            Self::Snappy(frames) => Ok(frames.finish(out)?),
        }
    }
}
