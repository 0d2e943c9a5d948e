//! The Merkle tree of RFC 6962 section 2.1, grown leaf by leaf: only its right edge is kept.

use aws_lc_rs::digest::{SHA256, digest};
use memchr::memchr;

/// SHA-256.
pub(crate) type Hash = [u8; 32];

/// Turns a stream of lines into the hashes of records: each line without its break. A line may come in pieces.
pub(crate) struct Leaves {
    /// What every leaf begins with, and the beginning of a line whose end has not come yet. One call for a whole
    /// record takes half the time of feeding the digest in pieces.
    line: Vec<u8>,
}

impl Leaves {
    pub(crate) fn new() -> Self {
        // RFC 6962 section 2.1: leaves and nodes are told apart by their first byte.
        Self { line: vec![0] }
    }

    /// `each` gets every record that ends in `bytes`, and its hash.
    pub(crate) fn feed(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8], Hash)) {
        let mut rest = bytes;
        while let Some(at) = memchr(b'\n', rest) {
            let (line, after) = rest.split_at(at);
            self.line.extend_from_slice(line);
            let leaf = taken(digest(&SHA256, &self.line).as_ref());
            each(self.line.get(1..).unwrap_or_default(), leaf);
            self.line.truncate(1);
            rest = after.get(1..).unwrap_or_default();
        }
        self.line.extend_from_slice(rest);
    }

    /// How many bytes stand behind the last record.
    pub(crate) fn left(&self) -> usize {
        self.line.len().saturating_sub(1)
    }

    #[cfg(test)]
    pub(crate) fn of(record: &[u8]) -> Hash {
        let (mut leaves, mut hash) = (Self::new(), None);
        leaves.feed(record, |_, _| ());
        leaves.feed(b"\n", |_, leaf| hash = Some(leaf));
        hash.unwrap_or_default()
    }
}

/// A tree that leaves are added to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree {
    size: u64,
    /// Roots of the full subtrees from left to right: one for each bit that is set in `size`.
    edge: Vec<Hash>,
}

impl Tree {
    pub(crate) fn push(&mut self, leaf: Hash) {
        let mut hash = leaf;
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.edge.pop() {
                hash = node(&left, &hash);
            }
        }
        self.edge.push(hash);
        self.size += 1;
    }

    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn root(&self) -> Hash {
        let mut subtrees = self.edge.iter().rev();
        let Some(last) = subtrees.next() else { return taken(digest(&SHA256, &[]).as_ref()) };
        subtrees.fold(*last, |right, left| node(left, &right))
    }
}

fn node(left: &Hash, right: &Hash) -> Hash {
    let mut both = [1; 65];
    for (to, from) in both.iter_mut().skip(1).zip(left.iter().chain(right)) {
        *to = *from;
    }
    taken(digest(&SHA256, &both).as_ref())
}

fn taken(digest: &[u8]) -> Hash {
    let mut hash = Hash::default();
    for (to, from) in hash.iter_mut().zip(digest) {
        *to = *from;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(hash: Hash) -> String {
        hash.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The reference values of the Certificate Transparency project for RFC 6962.
    #[test]
    fn roots_are_those_of_certificate_transparency() {
        let leaves: [&[u8]; 8] = [
            &[],
            &[0x00],
            &[0x10],
            &[0x20, 0x21],
            &[0x30, 0x31],
            &[0x40, 0x41, 0x42, 0x43],
            &[0x50, 0x51, 0x52, 0x53, 0x54, 0x55, 0x56, 0x57],
            &[0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x67, 0x68, 0x69, 0x6a, 0x6b, 0x6c, 0x6d, 0x6e, 0x6f],
        ];
        let roots = [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
            "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
            "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
        ];
        let mut tree = Tree::default();
        assert_eq!(hex(tree.root()), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        for (leaf, root) in leaves.iter().zip(roots) {
            tree.push(Leaves::of(leaf));
            assert_eq!(hex(tree.root()), root);
        }
        assert_eq!(tree.size(), 8);
    }
}
