//! The bearer token that guards the admin API where others can reach it.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use schemas::admin::Problem;
use schemas::error_code::ErrorCode;

use super::AdminParts;
use super::refusal::Refusal;

/// Fewest characters of a token: shorter ones can be guessed over the network.
const TOKEN_CHARS_MIN: usize = 16;

/// A secret that requests must carry. It is never printed.
#[derive(Clone)]
pub struct Token(Arc<str>);

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("cannot read the admin token file {}: {error}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The text is too short to be a secret, or has characters that no header takes.
    #[error(
        "an admin token needs at least {TOKEN_CHARS_MIN} visible ASCII characters; `openssl rand -hex 32` makes one"
    )]
    Weak,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// A token from its text; space around it is no part of it.
    ///
    /// # Errors
    /// [`TokenError::Weak`].
    pub fn from_text(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let sound = text.len() >= TOKEN_CHARS_MIN && text.bytes().all(|b| b.is_ascii_graphic());
        if sound { Ok(Self(text.into())) } else { Err(TokenError::Weak) }
    }

    /// Reads a token from a file.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| TokenError::Unreadable { path: path.to_owned(), error })?;
        Self::from_text(&text)
    }

    /// Whether the text is the token, in a time that tells nothing but the length.
    fn accepts(&self, given: &[u8]) -> bool {
        let wanted = self.0.as_bytes();
        let difference = wanted.iter().zip(given).fold(0_u8, |sum, (a, b)| sum | (a ^ b));
        wanted.len() == given.len() && std::hint::black_box(difference) == 0
    }
}

/// Whether the headers carry the token.
fn authorised(token: &Token, headers: &HeaderMap) -> bool {
    let value = headers.get(AUTHORIZATION).map(HeaderValue::as_bytes).unwrap_or_default();
    let (scheme, given) = value.split_at_checked("bearer ".len()).unwrap_or_default();
    scheme.eq_ignore_ascii_case(b"bearer ") && token.accepts(given.trim_ascii())
}

/// Lets a request pass if it carries the token, or if none is configured.
pub(super) async fn check(State(parts): State<Arc<AdminParts>>, request: Request, next: Next) -> Response {
    if parts.token.as_ref().is_none_or(|token| authorised(token, request.headers())) {
        return next.run(request).await;
    }
    let detail = "this broker asks for a bearer token; give the CLI --token-file";
    let mut response = Refusal(Problem::new(ErrorCode::Unauthorized, detail)).into_response();
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_passes() {
        let token = Token::from_text(" 0123456789abcdef\n").unwrap();
        for (header, passes) in [
            ("Bearer 0123456789abcdef", true),
            ("bearer 0123456789abcdef ", true),
            ("Bearer 0123456789abcdeF", false),
            ("Bearer 0123456789abcde", false),
            ("Bearer 0123456789abcdef0", false),
            ("Basic 0123456789abcdef", false),
            ("Bearer", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static(header))]);
            assert_eq!(authorised(&token, &headers), passes, "{header}");
        }
        assert!(!authorised(&token, &HeaderMap::new()));
        assert_eq!(format!("{token:?}"), "Token(…)");
    }

    #[test]
    fn weak_tokens_are_refused() {
        for weak in ["", "short", "has spaces in the middle", "0123456789abcdeé"] {
            assert!(Token::from_text(weak).is_err(), "{weak}");
        }
    }
}
