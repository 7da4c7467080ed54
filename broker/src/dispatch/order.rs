//! Which events have to wait for each other. Pure.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::event::Event;
use crate::triggers::Order;

/// The lane of an event: events of a lane are delivered one after the other, in log order; without a lane at once.
/// Two keys may fall into the same lane, which orders more than was asked for, never less.
pub(super) fn lane(order: Order, event: &Event) -> Option<u64> {
    match order {
        Order::Unordered => None,
        Order::Ordered => Some(0),
        Order::ByKey => {
            let mut hasher = DefaultHasher::new();
            let partition = event.attribute("partitionkey").map(|attribute| attribute.value);
            match partition.or_else(|| event.subject()) {
                Some(key) => key.hash(&mut hasher),
                None => event.source().hash(&mut hasher),
            }
            Some(hasher.finish())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::SpecVersion;

    #[test]
    fn keys_make_lanes() {
        let event = |source: &str, subject: Option<&str>, key: Option<&str>| {
            let mut builder =
                Event::builder(SpecVersion::V1).attribute("id", "1").attribute("source", source).attribute("type", "t");
            for (name, value) in [("subject", subject), ("partitionkey", key)] {
                if let Some(value) = value {
                    builder.push(name, value, crate::event::ValueKind::String);
                }
            }
            builder.build().unwrap()
        };
        let by_key = |source, subject, key| lane(Order::ByKey, &event(source, subject, key));
        assert_eq!(by_key("/a", Some("s"), Some("k")), by_key("/b", None, Some("k")));
        assert_eq!(by_key("/a", Some("s"), None), by_key("/b", Some("s"), None));
        assert_eq!(by_key("/a", None, None), by_key("/a", None, None));
        assert_ne!(by_key("/a", None, None), by_key("/b", None, None));
        assert_ne!(by_key("/a", Some("s"), None), by_key("/a", Some("t"), None));
        assert_eq!(lane(Order::Unordered, &event("/a", None, None)), None);
        assert_eq!(lane(Order::Ordered, &event("/a", None, None)), lane(Order::Ordered, &event("/b", None, None)));
    }
}
