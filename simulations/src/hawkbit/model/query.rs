//! Filters of the Management API (RSQL): `id==r*`, `name==web;version==2`, `type=in=(os,application)`.

use super::{Refusal, Result};

const DEPTH_MAX: usize = 16;
const CHARS_MAX: usize = 4_096;

/// A parsed filter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Query {
    /// Everything matches.
    All,
    /// A field compared with values, of which one has to match, or none.
    Compare { field: String, equal: bool, values: Vec<String> },
    /// All of these.
    And(Vec<Query>),
    /// Any of these.
    Or(Vec<Query>),
}

struct Parser<'a> {
    rest: &'a str,
}

impl Query {
    /// Parses a filter; an empty one is everything.
    pub fn parse(text: &str) -> Result<Self> {
        if text.trim().is_empty() {
            return Ok(Query::All);
        }
        if text.len() > CHARS_MAX {
            return Err(Refusal::query("the filter is too long"));
        }
        let mut parser = Parser { rest: text };
        let query = parser.or(0)?;
        parser.skip_blanks();
        if parser.rest.is_empty() { Ok(query) } else { Err(parser.wrong("an operator")) }
    }

    /// Whether something matches whose fields have these values.
    pub fn matches(&self, fields: &impl Fn(&str) -> Option<String>) -> bool {
        match self {
            Query::All => true,
            Query::And(all) => all.iter().all(|q| q.matches(fields)),
            Query::Or(any) => any.iter().any(|q| q.matches(fields)),
            Query::Compare { field, equal, values } => {
                let value = fields(field).unwrap_or_default().to_lowercase();
                values.iter().any(|pattern| fits(&pattern.to_lowercase(), &value)) == *equal
            }
        }
    }
}

/// Whether a text fits a pattern in which `*` is anything.
fn fits(pattern: &str, text: &str) -> bool {
    let parts: Vec<&str> = pattern.split('*').collect();
    let [first, middle @ .., last] = &parts[..] else { return pattern == text };
    let Some(mut rest) = text.strip_prefix(first) else { return false };
    for part in middle {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.len() >= last.len() && rest.ends_with(last)
}

impl Parser<'_> {
    fn wrong(&self, wanted: &str) -> Refusal {
        let at: String = self.rest.chars().take(20).collect();
        Refusal::query(format!("The given search parameter is not well formed: expected {wanted} at \"{at}\""))
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    /// Takes a symbol, or a word that blanks surround.
    fn take(&mut self, symbol: &str, word: &str) -> bool {
        let trimmed = self.rest.trim_start();
        if let Some(rest) = trimmed.strip_prefix(symbol) {
            self.rest = rest;
            return true;
        }
        let after = trimmed.get(..word.len()).filter(|w| w.eq_ignore_ascii_case(word)).map(|_| &trimmed[word.len()..]);
        let found = after.filter(|rest| !word.is_empty() && rest.starts_with(' ') && trimmed.len() < self.rest.len());
        self.rest = found.unwrap_or(self.rest);
        found.is_some()
    }

    fn or(&mut self, depth: usize) -> Result<Query> {
        let mut any = vec![self.and(depth)?];
        while self.take(",", "or") {
            any.push(self.and(depth)?);
        }
        Ok(if any.len() == 1 { any.remove(0) } else { Query::Or(any) })
    }

    fn and(&mut self, depth: usize) -> Result<Query> {
        let mut all = vec![self.term(depth)?];
        while self.take(";", "and") {
            all.push(self.term(depth)?);
        }
        Ok(if all.len() == 1 { all.remove(0) } else { Query::And(all) })
    }

    fn term(&mut self, depth: usize) -> Result<Query> {
        if depth > DEPTH_MAX {
            return Err(Refusal::query("the filter is nested too deep"));
        }
        if self.take("(", "") {
            let inner = self.or(depth + 1)?;
            return if self.take(")", "") { Ok(inner) } else { Err(self.wrong(")")) };
        }
        self.skip_blanks();
        let end = self.rest.find(['=', '!', ' ']).filter(|end| *end > 0).ok_or_else(|| self.wrong("a field"))?;
        let field = self.rest[..end].to_lowercase();
        self.rest = &self.rest[end..];
        let (equal, many) = match () {
            () if self.take("==", "") => (true, false),
            () if self.take("!=", "") => (false, false),
            () if self.take("=in=", "") => (true, true),
            () if self.take("=out=", "") => (false, true),
            () => return Err(self.wrong("==, !=, =in= or =out=")),
        };
        let values = if many { self.values()? } else { vec![self.value()?] };
        Ok(Query::Compare { field, equal, values })
    }

    fn values(&mut self) -> Result<Vec<String>> {
        if !self.take("(", "") {
            return Err(self.wrong("("));
        }
        let mut values = vec![self.value()?];
        while self.take(",", "") {
            values.push(self.value()?);
        }
        if self.take(")", "") { Ok(values) } else { Err(self.wrong(")")) }
    }

    fn value(&mut self) -> Result<String> {
        self.skip_blanks();
        if let Some(quote) = self.rest.chars().next().filter(|c| matches!(c, '"' | '\'')) {
            let inner = &self.rest[1..];
            let end = inner.find(quote).ok_or_else(|| self.wrong("the end of a quoted value"))?;
            self.rest = &inner[end + 1..];
            return Ok(inner[..end].to_owned());
        }
        let end = self.rest.find([';', ',', ')', '(', ' ']).unwrap_or(self.rest.len());
        let value = self.rest[..end].to_owned();
        self.rest = &self.rest[end..];
        if value.is_empty() { Err(self.wrong("a value")) } else { Ok(value) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use super::*;

    fn matches(query: &str) -> bool {
        let fields = |name: &str| match name {
            "id" | "controllerid" => Some("press-1".to_owned()),
            "name" => Some("Press 1".to_owned()),
            "version" => Some("2".to_owned()),
            _ => None,
        };
        Query::parse(query).unwrap().matches(&fields)
    }

    #[test]
    fn comparisons_lists_and_brackets_decide() {
        for query in [
            "",
            "id==press-1",
            "id==p*",
            "controllerId==*-1",
            "name=='Press 1';version==2",
            "id==x,version==2",
            "version=in=(1,2)",
            "id!=x and (name==x or version==2)",
            "version=out=(3)",
            "id==*ress*1",
        ] {
            assert!(matches(query), "{query}");
        }
        for query in
            ["id==p", "id==q*", "name==\"Press 1\";version==3", "version=in=(1,3)", "nosuch==1", "id==press-1*1"]
        {
            assert!(!matches(query), "{query}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        let deep = "(".repeat(100);
        for query in ["id", "id=", "id==", "==x", "id==a b", "(id==a", "id=in=a", "id=='a", "id==a;", &deep] {
            assert!(Query::parse(query).is_err(), "{query}");
        }
    }
}
