//! Which request meets which fault. Pure.

use std::time::Duration;

use http::{Method, StatusCode};

/// What happens to a request instead of the API server's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing: no byte goes either way until the rules change; then it goes on. Watches that stand are held too.
    Stall,
    /// Its connection is closed. Watches that stand are closed too, in the middle.
    Cut,
    /// The API server gets it and acts on it, but the connection is closed in place of the answer. Watches that
    /// stand go on.
    LoseAnswer,
    /// This status, with a body as the API server would write it, and `Retry-After: 1` with a 429. The API server
    /// does not see the request. Watches that stand go on. Mind that kube's clients try again by themselves after
    /// a 429, a 503 and a 504.
    Answer(StatusCode),
    /// It takes so much longer; then it goes on. Watches that stand are as fast as ever.
    Delay(Duration),
    /// A watch that says at once, as its only event, that its resource version is too old. Watches that stand go on.
    ExpireWatch,
}

/// A fault for the requests that it fits.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    /// `None` fits every method.
    pub(super) method: Option<Method>,
    pub(super) pattern: String,
    pub(super) fault: Fault,
    /// How many more requests meet it; `None`: all.
    pub(super) left: Option<usize>,
}

impl Rule {
    fn fits(&self, method: &Method, target: &str) -> bool {
        self.method.as_ref().is_none_or(|wanted| wanted == method) && matches(&self.pattern, target)
    }
}

/// The fault of a new request, which counts; the youngest rule that fits decides.
pub(super) fn meet(rules: &mut [Rule], method: &Method, target: &str) -> Option<Fault> {
    let rule = rules.iter_mut().rev().find(|rule| rule.left != Some(0) && rule.fits(method, target))?;
    rule.left = rule.left.map(|left| left.saturating_sub(1));
    Some(rule.fault)
}

/// The fault of a request whose answer is on its way. Rules that count requests are not for it.
pub(super) fn hold(rules: &[Rule], method: &Method, target: &str) -> Option<Fault> {
    rules.iter().rev().find(|rule| rule.left.is_none() && rule.fits(method, target)).map(|rule| rule.fault)
}

/// `*` stands for any text, also none and also with slashes; the rest is literal.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else { return pattern == text };
    let Some(rest) = text.strip_prefix(head) else { return false };
    rest.char_indices()
        .map(|(at, _)| at)
        .chain([rest.len()])
        .any(|at| rest.get(at..).is_some_and(|rest| matches(tail, rest)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(method: Option<Method>, pattern: &str, fault: Fault, left: Option<usize>) -> Rule {
        Rule { method, pattern: pattern.to_owned(), fault, left }
    }

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, text, fits) in [
            ("*", "", true),
            ("/api/v1/pods", "/api/v1/pods", true),
            ("/api/v1/pods", "/api/v1/pods?watch=true", false),
            ("/api/v1/pods*", "/api/v1/pods?watch=true", true),
            ("*/triggers/*/status*", "/apis/e/v1/namespaces/n/triggers/t/status?fieldManager=x", true),
            ("*/triggers/*/status*", "/apis/e/v1/namespaces/n/triggers/t", false),
            ("*watch=true*", "/api/v1/pods?&watch=true&timeoutSeconds=290", true),
        ] {
            assert_eq!(matches(pattern, text), fits, "{pattern} {text}");
        }
    }

    #[test]
    fn the_youngest_rule_that_fits_decides_and_counts_down() {
        let mut rules = [rule(None, "*", Fault::Stall, None), rule(Some(Method::PUT), "/a*", Fault::Cut, Some(2))];
        assert_eq!(meet(&mut rules, &Method::GET, "/a"), Some(Fault::Stall));
        assert_eq!(hold(&rules, &Method::PUT, "/a"), Some(Fault::Stall), "a standing answer meets no counted rule");
        assert_eq!(meet(&mut rules, &Method::PUT, "/a"), Some(Fault::Cut));
        assert_eq!(meet(&mut rules, &Method::PUT, "/a"), Some(Fault::Cut));
        assert_eq!(meet(&mut rules, &Method::PUT, "/a"), Some(Fault::Stall));
        assert_eq!(meet(&mut [], &Method::PUT, "/a"), None);
    }
}
