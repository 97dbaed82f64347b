//! Text with placeholders for a topic and for data.

/// The placeholder of a topic's name.
const TOPIC: &str = "{topic}";

/// The placeholder of an event's data.
const DATA: &str = "{}";

/// Text that is sent again and again with other topics and data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Template(Vec<Piece>);

/// A part of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Text(Vec<u8>),
    Topic,
    Data,
}

/// The name of the topic with this number.
pub(crate) fn topic_name(number: usize) -> String {
    format!("t{number}")
}

impl Template {
    /// Parses `{topic}` and `{}` as placeholders, and everything else as text.
    pub(crate) fn parse(text: &str) -> Self {
        let mut pieces = Vec::new();
        let mut rest = text;
        let first = |text: &str| {
            let places = [(TOPIC, Piece::Topic), (DATA, Piece::Data)];
            let found = places.into_iter().filter_map(|(place, piece)| {
                text.find(place).map(|at| (at, at + place.len(), piece))
            });
            found.min_by_key(|(at, ..)| *at)
        };
        while let Some((begin, end, piece)) = first(rest) {
            if begin > 0 {
                pieces.push(Piece::Text(rest.as_bytes()[..begin].to_vec()));
            }
            pieces.push(piece);
            rest = &rest[end..];
        }
        if !rest.is_empty() {
            pieces.push(Piece::Text(rest.as_bytes().to_vec()));
        }
        Self(pieces)
    }

    /// Whether it has a placeholder of a topic.
    pub(crate) fn has_topic(&self) -> bool {
        self.0.contains(&Piece::Topic)
    }

    /// Number of its placeholders of data.
    pub(crate) fn data_count(&self) -> usize {
        self.0.iter().filter(|piece| **piece == Piece::Data).count()
    }

    /// Its length with a topic and data of these lengths.
    pub(crate) fn len(&self, topic: usize, data: usize) -> usize {
        let len = |piece: &Piece| match piece {
            Piece::Text(text) => text.len(),
            Piece::Topic => topic,
            Piece::Data => data,
        };
        self.0.iter().map(len).sum()
    }

    /// Appends it to `out`, with the topic, and with the data that `data` appends.
    pub(crate) fn write(&self, topic: &str, out: &mut Vec<u8>, data: impl Fn(&mut Vec<u8>)) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Topic => out.extend_from_slice(topic.as_bytes()),
                Piece::Data => data(out),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(text: &str) -> String {
        let template = Template::parse(text);
        let mut out = Vec::new();
        template.write("t7", &mut out, |out| out.extend_from_slice(b"data"));
        assert_eq!(out.len(), template.len(2, 4), "{text}");
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn placeholders_are_filled_and_nothing_else() {
        assert_eq!(filled("a={topic}&b={}"), "a=t7&b=data");
        assert_eq!(filled("{}{topic}{other}{"), "datat7{other}{");
        assert_eq!(filled(""), "");
    }

    #[test]
    fn placeholders_are_found() {
        let template = Template::parse("{} {}");
        assert_eq!((template.data_count(), template.has_topic()), (2, false));
        assert!(Template::parse("{topic}").has_topic());
    }
}
