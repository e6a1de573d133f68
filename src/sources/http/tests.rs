//! Unpacking of bodies: what was packed comes out, in any pieces, and nothing else gets through.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::inflate::{Coding, Corrupt, Inflate};
use super::snappy::NotSnappy;

const MAX_BLOCK: usize = 1 << 20;

/// A way to pack: coding, and what packs.
type Packer = (Coding, fn(&[u8]) -> Vec<u8>);

const PACKERS: [Packer; 6] = [
    (Coding::Identity, |plain| plain.to_vec()),
    (Coding::Gzip, gzip),
    // Two members one after the other.
    (Coding::Gzip, |plain| [gzip(&plain[..plain.len() / 2]), gzip(&plain[plain.len() / 2..])].concat()),
    (Coding::Zstd, |plain| zstd::encode_all(plain, 3).unwrap()),
    (Coding::Snappy, |plain| snap::raw::Encoder::new().compress_vec(plain).unwrap()),
    (Coding::Snappy, |plain| {
        let mut encoder = snap::write::FrameEncoder::new(Vec::new());
        encoder.write_all(plain).unwrap();
        encoder.into_inner().unwrap()
    }),
];

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// Unpacks a body that arrives in pieces, with room for so many bytes at a time.
fn unpack(coding: Coding, packed: &[u8], piece: usize, room: usize) -> Result<Vec<u8>, Corrupt> {
    let mut inflate = Inflate::new(coding, MAX_BLOCK)?;
    let mut plain = Vec::new();
    for mut input in packed.chunks(piece) {
        while !input.is_empty() {
            inflate.run(&mut input, &mut plain, room)?;
        }
        // What did not fit before may still be inside.
        loop {
            let before = plain.len();
            inflate.run(&mut input, &mut plain, room)?;
            if plain.len() == before {
                break;
            }
        }
    }
    inflate.finish(&mut plain)?;
    Ok(plain)
}

#[test]
fn test_every_coding_gives_back_what_was_packed() {
    let plain: Vec<u8> = (0..300_000u32).flat_map(|number| (number / 7).to_le_bytes()).take(1_000_000).collect();
    for (coding, pack) in PACKERS {
        let packed = pack(&plain);
        for (piece, room) in [(usize::MAX / 2, usize::MAX / 4), (1000, 1000), (7, 1 << 16)] {
            let room = room.min(1 << 20);
            assert!(
                unpack(coding, &packed, piece.min(packed.len()), room).unwrap() == plain,
                "{coding:?} {piece} {room}"
            );
        }
    }
}

#[test]
fn test_what_is_cut_off_is_noticed() {
    let plain = vec![7; 5000];
    for (coding, pack) in PACKERS.into_iter().filter(|(coding, _)| *coding != Coding::Identity) {
        let packed = pack(&plain);
        for len in [packed.len() - 1, packed.len() / 2 + 1] {
            // Two members are whole after the first.
            if let Ok(part) = unpack(coding, &packed[..len], 100, 1000) {
                assert!(part.len() < plain.len(), "{coding:?} {len}");
            }
        }
        assert!(unpack(coding, &packed[..packed.len() - 1], 100, 1000).is_err(), "{coding:?}");
    }
}

#[test]
fn test_a_bomb_unpacks_no_more_at_a_time_than_there_is_room() {
    let zeros = vec![0; 50 << 20];
    for (coding, pack) in PACKERS.into_iter().filter(|(coding, _)| *coding != Coding::Identity) {
        let packed = pack(&zeros);
        let mut inflate = Inflate::new(coding, MAX_BLOCK).unwrap();
        let (mut input, mut plain) = (packed.as_slice(), Vec::new());
        let ran = inflate.run(&mut input, &mut plain, 10_000);
        assert!(plain.len() <= 10_000 + (64 << 10), "{coding:?}: {}", plain.len());
        assert!(inflate.num_held() <= 10 << 20);
        // One block of 50 MiB is refused by what it claims.
        assert_eq!(ran.is_err(), coding == Coding::Snappy && !packed.starts_with(b"\xff\x06"));
    }
}

proptest! {
    #[test]
    fn test_damaged_bodies_never_panic(
        which in 0..PACKERS.len(),
        bytes in prop::collection::vec(any::<u8>(), 0..2000),
        at in any::<prop::sample::Index>(),
        flip in 1u8..,
        piece in 1usize..100,
    ) {
        let (coding, pack) = PACKERS[which];
        let mut packed = pack(&bytes);
        prop_assert_eq!(unpack(coding, &packed, piece, 500).unwrap(), bytes.clone());
        let at = at.index(packed.len().max(1));
        if let Some(byte) = packed.get_mut(at) {
            *byte ^= flip;
        }
        let _ = unpack(coding, &packed, piece, 500);
        let _ = unpack(coding, &bytes, piece, 500);
    }
}

#[test]
fn test_a_snappy_block_is_not_believed_how_much_it_holds() {
    // 1 MiB out of seven bytes.
    let block = [0x80, 0x80, 0x40, 0x00, 0x07, 0x00, 0x07];
    let mut inflate = Inflate::new(Coding::Snappy, MAX_BLOCK).unwrap();
    let mut plain = Vec::new();
    inflate.run(&mut &block[..], &mut plain, 1 << 20).unwrap();
    assert!(inflate.num_held() < 200, "{} bytes are asked for", inflate.num_held());
    assert_eq!(inflate.finish(&mut plain), Err(Corrupt::Snappy(NotSnappy::Expands { claimed: 1 << 20 })));
}
