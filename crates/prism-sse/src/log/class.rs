//! Retention classes: each has a ring and bounds of its own.

use std::ops::{Index, IndexMut};

/// A retention class. A record evicts only older records of its own class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Ordinary events.
    History,
    /// [Transient](crate::Publication::transient) events.
    Transient,
}

impl Class {
    pub(crate) const ALL: [Self; 2] = [Self::History, Self::Transient];
}

/// A value for each class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PerClass<T>([T; 2]);

impl<T> PerClass<T> {
    pub(crate) fn new(history: T, transient: T) -> Self {
        Self([history, transient])
    }

    pub(super) fn of(make: impl FnMut(Class) -> T) -> Self {
        Self(Class::ALL.map(make))
    }

    pub(super) fn map<U>(self, with: impl FnMut(T) -> U) -> PerClass<U> {
        PerClass(self.0.map(with))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }
}

impl<T> Index<Class> for PerClass<T> {
    type Output = T;

    fn index(&self, class: Class) -> &T {
        &self.0[class as usize]
    }
}

impl<T> IndexMut<Class> for PerClass<T> {
    fn index_mut(&mut self, class: Class) -> &mut T {
        &mut self.0[class as usize]
    }
}
