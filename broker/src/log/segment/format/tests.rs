use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::event::{BodyKind, SpecVersion};

fn events() -> impl Strategy<Value = Vec<Event>> {
    let one = ("[a-z]{1,9}", "[a-z/]{1,30}", proptest::collection::vec(any::<u8>(), 0..300));
    let made = one.prop_map(|(id, source, body)| {
        Event::builder(SpecVersion::V1)
            .attribute("id", &id)
            .attribute("source", &source)
            .attribute("type", "t")
            .body(BodyKind::Binary, Bytes::from(body))
            .build()
            .unwrap()
    });
    proptest::collection::vec(made, 0..6)
}

fn new_frame(segment: u64, base: u64, appended: u64) -> NewFrame {
    let base = Offset(base);
    NewFrame { segment: SegmentId(segment), base, appended: UnixMicros(appended), durable_up_to: base }
}

proptest! {
    #[test]
    fn a_frame_reads_back(events in events(), segment: u64, base in 0..u64::MAX / 2, appended: u64) {
        let frame = new_frame(segment, base, appended);
        let bytes = encode_frame(&frame, events.iter(), 0).unwrap();
        let read = decode_frame(&bytes).unwrap();
        prop_assert_eq!(read.header.segment, frame.segment);
        prop_assert_eq!((read.header.base, read.header.durable_up_to), (frame.base, frame.durable_up_to));
        prop_assert_eq!(read.header.appended, frame.appended);
        prop_assert_eq!(read.header.next(), frame.base.plus(events.len() as u64));
        let mut rest = read.payload;
        for event in &events {
            let (record, after) = split_record(rest).unwrap();
            prop_assert_eq!((record.block, record.body), (&event.block()[..], &event.body()[..]));
            rest = after;
        }
        prop_assert!(rest.is_empty());
    }

    #[test]
    fn a_changed_byte_or_a_cut_is_noticed(events in events(), at: prop::sample::Index, flip in 1..=u8::MAX) {
        let bytes = encode_frame(&new_frame(7, 9, 11), events.iter(), 0).unwrap();
        let at = at.index(bytes.len());
        prop_assert!(decode_frame(&bytes[..at]).is_err());
        let mut changed = bytes;
        changed[at] ^= flip;
        prop_assert!(decode_frame(&changed).is_err());
    }

    #[test]
    fn no_bytes_make_a_decoder_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), magic: bool) {
        let mut bytes = bytes;
        if magic {
            bytes.splice(0..0, FRAME_MAGIC);
        }
        let _ = (decode_frame(&bytes), decode_frame_header(&bytes), decode_file_header(&bytes));
        let _ = split_record(&bytes).map(|(record, _)| record.check(SegmentId(1), Offset(1)));
        let _ = super::super::footer::decode_footer(&bytes);
    }

    #[test]
    fn a_file_header_reads_back(segment: u64, base: u64, created: u64, at in 0..FILE_HEADER_BYTES, flip in 1..=u8::MAX) {
        let header =
            FileHeader { segment: SegmentId(segment), base: Offset(base), created: UnixMicros(created) };
        let mut bytes = encode_file_header(&header);
        prop_assert_eq!(decode_file_header(&bytes), Ok(header));
        bytes[at] ^= flip;
        prop_assert!(decode_file_header(&bytes).is_err());
    }
}
