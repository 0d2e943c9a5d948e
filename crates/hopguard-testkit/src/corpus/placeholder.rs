//! The few words in angle brackets that a corpus file may hold in its texts.

use super::Attack;

/// What the words stand for.
pub(super) struct Words {
    pub(super) now: u64,
    pub(super) fixed: Vec<(&'static str, String)>,
}

/// The words that stand for one text each, known wherever `<token>` is.
pub(super) const REQUEST: &[&str] =
    &["token", "header", "payload", "signature", "issuer", "second-issuer", "lax-issuer", "audience"];
/// Those known while the token is being made.
pub(super) const TOKEN: &[&str] = &["claims", "members", "issuer", "second-issuer", "lax-issuer", "audience"];

impl Words {
    /// `text` with every word replaced.
    pub(super) fn fill(&self, text: &str) -> Result<String, String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('<') {
            let (word, after) = after.split_once('>').ok_or("a placeholder has no end")?;
            out.push_str(before);
            out.push_str(&self.word(word)?);
            rest = after;
        }
        out.push_str(rest);
        Ok(out)
    }

    fn word(&self, word: &str) -> Result<String, String> {
        if let Some((_, value)) = self.fixed.iter().find(|(name, _)| *name == word) {
            return Ok(value.clone());
        }
        if let Some(offset) = word.strip_prefix("now") {
            let offset = if offset.is_empty() { Some(0) } else { offset.parse::<i64>().ok() };
            let moved = offset.and_then(|offset| self.now.checked_add_signed(offset));
            return moved.map(|at| at.to_string()).ok_or_else(|| format!("<{word}> is no time"));
        }
        if let Some((count, text)) = word.strip_prefix("repeat ").and_then(|rest| rest.split_once(' ')) {
            let count: usize = count.parse().map_err(|_| format!("<{word}> has no count"))?;
            return Ok(text.repeat(count));
        }
        Err(format!("<{word}> is no placeholder"))
    }

    /// Words that stand for nothing, to check texts with.
    fn checking(names: &[&'static str]) -> Self {
        Self { now: 1_800_000_000, fixed: names.iter().map(|name| (*name, String::new())).collect() }
    }
}

/// What is wrong with the texts of an attack.
pub(super) fn problems(attack: &Attack) -> Vec<String> {
    let (token, request) = (Words::checking(TOKEN), Words::checking(REQUEST));
    let spec = &attack.request;
    let values = attack.token.claims.values().chain(attack.token.header.values());
    let mut problems: Vec<String> = values
        .filter_map(|value| super::stage::filled(value, &token).err())
        .chain(attack.token.payload.iter().filter_map(|text| token.fill(text).err()))
        .chain(attack.token.header_text.iter().filter_map(|text| token.fill(text).err()))
        .collect();
    let pairs = spec.headers.iter().chain(&attack.egress.headers);
    let texts = pairs.map(|(_, value)| value).chain(&spec.authorization);
    let texts = texts.chain([&spec.path, &spec.body]).chain(&attack.egress.url);
    problems.extend(texts.filter_map(|text| request.fill(text).err()));
    problems
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn filled(text: &str, expected: Result<&str, &str>) {
        let words = Words { now: 100, fixed: vec![("token", "a.b.c".to_owned())] };
        let found = words.fill(text);
        assert_eq!(found.as_deref().map_err(String::as_str), expected);
    }

    #[test]
    fn words_are_replaced_and_unknown_ones_refused() {
        filled("plain", Ok("plain"));
        filled("Bearer <token>, <token>", Ok("Bearer a.b.c, a.b.c"));
        filled("<now> <now+20> <now-20>", Ok("100 120 80"));
        filled("x<repeat 3 [>y<repeat 2 a b>", Ok("x[[[ya ba b"));
        filled("<tokne>", Err("<tokne> is no placeholder"));
        filled("<now+soon>", Err("<now+soon> is no time"));
        filled("a < b", Err("a placeholder has no end"));
    }
}
