//! What has arrived on a connection and is not a whole frame yet, and the cutting of frames out of it.
//!
//! Frames are parts of the buffer, and a part keeps the whole. So that the memory of a connection is what is counted for
//! it, what is left when frames were taken moves to a buffer of its own before anything is waited for, and so does a
//! package that would keep much more than itself.

use bytes::{Bytes, BytesMut};

use crate::protocol::frame::{self, Frame, FrameError};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct FrameBuffer {
    buffer: BytesMut,
    /// Bytes of memory behind the buffer, and behind the frames that were taken out of it since it began.
    num_allocated: usize,
    has_given: bool,
}

// === impl FrameBuffer ===

impl FrameBuffer {
    /// The next frame, if all of it is there.
    pub(super) fn take_frame(&mut self, limit: usize) -> Result<Option<Frame>, FrameError> {
        if !self.has_given {
            self.num_allocated = self.buffer.capacity();
        }
        let Some(mut frame) = frame::decode(&mut self.buffer, limit)? else { return Ok(None) };
        self.has_given = true;
        if let Frame::Package(package) = &mut frame
            && package.block.len() < self.num_allocated / 2
        {
            package.block = Bytes::copy_from_slice(&package.block);
        }
        Ok(Some(frame))
    }

    /// Lets go of all memory but that of the frame that has begun. To be called before more is waited for.
    pub(super) fn tidy(&mut self) {
        if std::mem::take(&mut self.has_given) {
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
    }

    /// Where what arrives is to be appended.
    pub(super) fn buffer(&mut self) -> &mut BytesMut {
        &mut self.buffer
    }

    /// Bytes of the frame that has begun.
    pub(super) fn num_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// Bytes of memory that are held, once it is tidy.
    pub(super) fn num_held(&self) -> usize {
        self.buffer.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::frame::PackageFrame;

    const LIMIT: usize = 2 << 20;

    fn package(len: usize) -> BytesMut {
        let mut bytes = BytesMut::new();
        Frame::Package(PackageFrame { package_id: 1, block: vec![7; len].into() }).encode(&mut bytes);
        bytes
    }

    /// A buffer in which these bytes arrived in pieces, as they do from a socket.
    fn frame_buffer(bytes: &[u8]) -> FrameBuffer {
        let mut frame_buffer = FrameBuffer::default();
        for piece in bytes.chunks(1 << 16) {
            frame_buffer.buffer().extend_from_slice(piece);
        }
        frame_buffer
    }

    fn block(frame_buffer: &mut FrameBuffer) -> Bytes {
        match frame_buffer.take_frame(LIMIT).unwrap() {
            Some(Frame::Package(package)) => package.block,
            other => panic!("instead of a package: {other:?}"),
        }
    }

    #[test]
    fn test_a_byte_behind_a_giant_frame_does_not_keep_its_memory() {
        let mut frame_buffer = frame_buffer(&[&package(1 << 20)[..], &[0]].concat());
        assert!(frame_buffer.num_held() > 1 << 20);
        assert_eq!(block(&mut frame_buffer).len(), 1 << 20);
        assert!(frame_buffer.take_frame(LIMIT).unwrap().is_none());
        frame_buffer.tidy();
        assert_eq!((frame_buffer.num_bytes(), frame_buffer.num_held()), (1, 1));
        // It is the begin of the next one all the same.
        frame_buffer.buffer().extend_from_slice(&package(3)[1..]);
        assert_eq!(block(&mut frame_buffer), &[7; 3][..]);
        frame_buffer.tidy();
        assert_eq!(frame_buffer.num_held(), 0);
    }

    #[test]
    fn test_a_small_package_does_not_keep_what_came_with_it() {
        let mut crowded = frame_buffer(&package(100).repeat(600));
        let first = block(&mut crowded);
        let range = crowded.buffer.as_ptr_range();
        let allocation = range.start as usize - 200..range.end as usize;
        assert!(!allocation.contains(&(first.as_ptr() as usize)));
        for _ in 1..600 {
            assert_eq!(block(&mut crowded), first);
        }
    }

    #[test]
    fn test_a_package_that_fills_its_buffer_is_not_copied() {
        let mut alone = frame_buffer(&package(50_000));
        let start = alone.buffer.as_ptr() as usize;
        assert_eq!(block(&mut alone).as_ptr() as usize, start + 9);
    }

    #[test]
    fn test_what_has_begun_stays_where_it_is() {
        let mut frame_buffer = frame_buffer(&package(1 << 20)[..500_000]);
        let held = frame_buffer.num_held();
        assert!(frame_buffer.take_frame(LIMIT).unwrap().is_none());
        frame_buffer.tidy();
        assert_eq!((frame_buffer.num_bytes(), frame_buffer.num_held()), (500_000, held));
    }
}
