//! The audiences that select a topic or a pattern, or to which it grants private records.

/// Keys of audiences, in no order.
///
/// Adding and removing take constant time, however many there are, because the manager stores with
/// each audience its position in the list.
#[derive(Debug, Default)]
pub(crate) struct AudienceList(Vec<u32>);

impl AudienceList {
    /// Adds an audience that is not in the list. Returns its position.
    pub(crate) fn add(&mut self, audience: u32) -> u32 {
        self.0.push(audience);
        self.0.len() as u32 - 1
    }

    /// Removes the audience at `position`. The last audience of the list moves there; it is
    /// returned if it is another one.
    pub(crate) fn remove(&mut self, position: u32) -> Option<u32> {
        self.0.swap_remove(position as usize);
        self.0.get(position as usize).copied()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn as_slice(&self) -> &[u32] {
        &self.0
    }
}
