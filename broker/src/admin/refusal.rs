//! Errors of the admin API as HTTP answers.

use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use schemas::admin::Problem;
use schemas::error_code::{ErrorCode, PROBLEM_MEDIA_TYPE};

use crate::log::ReadError;

/// An answer that says no.
#[derive(Debug)]
pub(super) struct Refusal(pub(super) Problem);

impl Refusal {
    /// A parameter is wrong.
    pub(super) fn parameter(name: &str, detail: impl Into<String>) -> Self {
        Self(Problem::new(ErrorCode::BadRequest, detail).with_attribute(name))
    }

    /// The thing asked for is not there.
    pub(super) fn not_found(detail: impl Into<String>) -> Self {
        Self(Problem::new(ErrorCode::NotFound, detail))
    }
}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        let code = match error {
            ReadError::Trimmed { .. } => ErrorCode::NotFound,
            ReadError::Io { .. } => ErrorCode::Internal,
            ReadError::Closed => ErrorCode::ShuttingDown,
        };
        Self(Problem::new(code, error.to_string()))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, axum::Json(self.0)).into_response();
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_MEDIA_TYPE));
        response
    }
}
