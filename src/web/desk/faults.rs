//! What is in the way of holds, exports and destruction, as whoever asked is told it.

use axum::http::StatusCode;

use crate::archive::export_request::RequestError;
use crate::archive::request::ApprovalError;
use crate::shell::vault::export::ExportError;
use crate::shell::vault::export_requests::ExportRequestError;
use crate::shell::vault::matters::MattersError;
use crate::web::problem::Problem;

fn conflict(fault: &dyn std::fmt::Display) -> Problem {
    Problem::new(StatusCode::CONFLICT, "conflict", fault.to_string())
}

fn second_person(fault: &dyn std::fmt::Display) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "second-person", fault.to_string())
}

impl From<MattersError> for Problem {
    fn from(error: MattersError) -> Self {
        match error {
            MattersError::Denied(denied) => denied.into(),
            MattersError::Log(fault) => Self::unlogged(&fault),
            MattersError::Approval(fault @ ApprovalError::Own { .. }) => second_person(&fault),
            MattersError::Approval(fault) => conflict(&fault),
            fault @ (MattersError::NoHold(_) | MattersError::NoRequest(_)) => {
                Self::not_found(fault.to_string())
            }
            fault @ (MattersError::HoldExists(_) | MattersError::Clock(_)) => conflict(&fault),
            fault @ (MattersError::NoClass { .. }
            | MattersError::NoRecorder { .. }
            | MattersError::TooMany(_)
            | MattersError::Everything) => Self::bad(fault.to_string()),
            other => Self::fault("asking the catalog and the log", &other),
        }
    }
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Unknown(_) => Self::not_found(error.to_string()),
            RequestError::Own { .. } | RequestError::Unagreed(_) => second_person(&error),
            RequestError::Many(_) | RequestError::Nothing => Self::bad(error.to_string()),
            _ => conflict(&error),
        }
    }
}

impl From<ExportRequestError> for Problem {
    fn from(error: ExportRequestError) -> Self {
        match error {
            ExportRequestError::Request(fault) => fault.into(),
            ExportRequestError::Denied(denied) => denied.into(),
            ExportRequestError::Log(fault) => Self::unlogged(&fault),
            fault @ ExportRequestError::Busy => conflict(&fault),
            other => Self::fault("reading or writing requests for exports", &other),
        }
    }
}

impl From<ExportError> for Problem {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Denied(denied) => denied.into(),
            ExportError::Request(fault) => fault.into(),
            ExportError::Log(fault) => Self::unlogged(&fault),
            fault @ ExportError::Unknown(_) => Self::not_found(fault.to_string()),
            fault @ ExportError::Twice(_) => Self::bad(fault.to_string()),
            fault @ ExportError::Nothing { .. } => {
                Self::new(StatusCode::CONFLICT, "nothing", fault.to_string())
            }
            fault @ (ExportError::Rewrapping | ExportError::Uncovered { .. } | ExportError::InTheOpen) => {
                conflict(&fault)
            }
            other => Self::fault("making the bundle", &other),
        }
    }
}
