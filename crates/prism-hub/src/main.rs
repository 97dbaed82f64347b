//! The program `prism-hub`; see the library of the same name.

fn main() {}
