//! What was made of something is not made again while that is the same.

use std::collections::BTreeMap;

/// What was made, by key, with what it was made from.
#[derive(Debug)]
pub(super) struct Remembered<K, T, R> {
    known: BTreeMap<K, (T, R)>,
    used: BTreeMap<K, (T, R)>,
}

impl<K, T, R> Default for Remembered<K, T, R> {
    fn default() -> Self {
        Self { known: BTreeMap::new(), used: BTreeMap::new() }
    }
}

impl<K: Ord + Clone, T: Clone, R: Clone> Remembered<K, T, R> {
    /// What is made from `from`, which has this key; made again only if it is not the same as last time.
    pub(super) fn of(
        &mut self,
        key: &K,
        from: &T,
        same: impl Fn(&T, &T) -> bool,
        make: impl FnOnce(&T) -> R,
    ) -> R {
        if let Some((_, result)) = self.used.get(key).filter(|(it, _)| same(it, from)) {
            return result.clone();
        }
        let known = self.known.remove(key).filter(|(it, _)| same(it, from));
        let known = known.unwrap_or_else(|| (from.clone(), make(from)));
        let result = known.1.clone();
        self.used.insert(key.clone(), known);
        result
    }

    /// For the next time: what was not asked for this time is forgotten.
    pub(super) fn turned(self) -> Self {
        Self { known: self.used, used: BTreeMap::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_made_again_if_it_changed_and_forgotten_if_nobody_asks() {
        let mut made = Vec::new();
        let mut remembered = Remembered::default();
        let rounds: [&[(&str, u8)]; 4] =
            [&[("a", 1), ("b", 1), ("a", 1)], &[("a", 1), ("b", 2)], &[("b", 2)], &[("a", 1), ("b", 2)]];
        for round in rounds {
            for (key, from) in round {
                let result = remembered.of(key, from, PartialEq::eq, |from| {
                    made.push(format!("{key}{from}"));
                    from + 1
                });
                assert_eq!(result, from + 1);
            }
            remembered = remembered.turned();
        }
        assert_eq!(made, ["a1", "b1", "b2", "a1"]);
    }
}
