//! The HTTP layer: a tower middleware over any [`Backend`](crate::Backend).
