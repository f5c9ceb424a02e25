//! Refusals, in the one shape that llama.cpp's and OpenAI's clients both read.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use lacuna_complete::FillError;
use serde_json::json;

/// Largest body of a request.
pub const MAX_BODY_BYTES: usize = 4 << 20;

/// A refusal: an HTTP status, a kind for programs, a message for people.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    kind: &'static str,
    message: String,
}

impl ApiError {
    pub fn body(&self) -> serde_json::Value {
        json!({"error": {"code": self.status.as_u16(), "message": self.message, "type": self.kind}})
    }

    fn new(status: StatusCode, kind: &'static str, message: impl Into<String>) -> ApiError {
        ApiError { status, kind, message: message.into() }
    }

    pub fn invalid(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, "invalid_request_error", message)
    }

    /// The message is llama-server's: clients look for it.
    pub fn loading() -> ApiError {
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable_error", "Loading model")
    }

    pub fn busy() -> ApiError {
        ApiError::new(
            StatusCode::TOO_MANY_REQUESTS,
            "rate_limit_error",
            "too many requests at once: wait for an answer, or raise http.max_requests",
        )
    }

    pub fn unauthorized() -> ApiError {
        ApiError::new(
            StatusCode::UNAUTHORIZED,
            "authentication_error",
            "send the server's token: Authorization: Bearer TOKEN",
        )
    }

    pub fn forbidden(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::FORBIDDEN, "permission_error", message)
    }

    pub fn timed_out() -> ApiError {
        ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "timeout_error",
            "the request took too long to arrive",
        )
    }

    pub fn too_large() -> ApiError {
        let message = format!("the body is larger than {} bytes", MAX_BODY_BYTES);
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "invalid_request_error", message)
    }

    pub fn failed() -> ApiError {
        ApiError::internal("the request failed inside the server; its log says why")
    }

    fn internal(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "server_error", message)
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body())).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert("www-authenticate", axum::http::HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<FillError> for ApiError {
    fn from(error: FillError) -> ApiError {
        match error {
            FillError::OverBudget(_) => ApiError::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable_error",
                format!("{error}: ask again later, or raise kv.budget_mb"),
            ),
            FillError::Prompt(error) => ApiError::internal(error.to_string()),
        }
    }
}

impl From<tokio::task::JoinError> for ApiError {
    fn from(_: tokio::task::JoinError) -> ApiError {
        ApiError::failed()
    }
}

pub async fn no_such_route() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "not_found_error",
        "no such route: /infill, /v1/completions, /v1/fim/completions, /v1/models, /api/generate, /health, /props, /metrics and /dashboard are there",
    )
}

pub async fn wrong_method() -> ApiError {
    ApiError::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "invalid_request_error",
        "this route takes another method",
    )
}
