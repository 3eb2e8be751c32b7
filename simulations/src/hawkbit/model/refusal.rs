//! The errors that the server answers with, in Hawkbit's words.

use serde_json::{Value, json};

/// What a call gives or why it was refused.
pub type Result<T> = std::result::Result<T, Refusal>;

const REPOSITORY: &str = "org.eclipse.hawkbit.repository.exception.";

/// A refusal: the status and, most times, a body that says why.
#[derive(Debug, PartialEq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// Class, code, message and details; without, the body stays empty.
    pub body: Option<Value>,
}

impl Refusal {
    fn new(status: u16, class: &str, code: &str, message: impl Into<String>) -> Self {
        let message = message.into();
        let code = format!("hawkbit.server.error.{code}");
        let class = if class.contains('.') { class.to_owned() } else { format!("{REPOSITORY}{class}") };
        Refusal { status, body: Some(json!({ "exceptionClass": class, "errorCode": code, "message": message })) }
    }

    /// A status without a body.
    pub fn bare(status: u16) -> Self {
        Refusal { status, body: None }
    }

    /// Something with an id that does not exist.
    pub fn no_such(kind: &str, id: impl Into<Value>) -> Self {
        let id = id.into();
        let shown = match &id {
            Value::String(text) => text.clone(),
            Value::Object(map) => map
                .iter()
                .map(|(k, v)| format!("{k}={}", v.as_str().unwrap_or_default()))
                .collect::<Vec<_>>()
                .join(", "),
            other => other.to_string(),
        };
        let message = format!("{kind} with given identifier {{{shown}}} does not exist.");
        let mut refusal = Self::new(404, "EntityNotFoundException", "repo.entityNotFound", message);
        if let Some(body) = &mut refusal.body {
            body["info"] = json!({ "type": kind, "entityId": id });
        }
        refusal
    }

    /// An action that belongs to somebody else.
    pub fn not_of(action: u64, target: &str) -> Self {
        let message = format!("Not a valid action ({action}) for target: {target}");
        Self::new(404, "EntityNotFoundException", "repo.entityNotFound", message)
    }

    /// Something that exists already.
    pub fn exists(kind: &str, name: &str) -> Self {
        let message = format!("The given {kind} {name} already exists in database");
        Self::new(409, "EntityAlreadyExistsException", "repo.entityAlreadyExists", message)
    }

    /// A body, a number in the path or a parameter that cannot be read.
    pub fn unreadable() -> Self {
        let class = "org.eclipse.hawkbit.rest.exception.MessageNotReadableException";
        Self::new(400, class, "rest.body.notReadable", "The given request body is not well formed")
    }

    /// Values that break a rule, each told by one sentence.
    pub fn constraint(sentences: &[String]) -> Self {
        let class = "jakarta.validation.ConstraintViolationException";
        Self::new(400, class, "repo.constraintViolation", sentences.join(" "))
    }

    /// Attributes whose keys or values are too long or of other characters.
    pub fn attributes() -> Self {
        let message = "The given target attributes are invalid";
        Self::new(400, "InvalidTargetAttributeException", "repo.invalidTargetAttributes", message)
    }

    /// More entries than may be.
    pub fn quota(added: usize, what: &str, whom: &str, max: usize) -> Self {
        let message =
            format!("Quota exceeded: Cannot assign {added} more {what} entities to {whom}. The maximum is {max}.");
        Self::new(429, "AssignmentQuotaExceededException", "quota.tooManyEntries", message)
    }

    /// An action that cannot be cancelled now.
    pub fn not_cancelable(message: impl Into<String>) -> Self {
        Self::new(405, "CancelActionNotAllowedException", "action.notcancelable", message)
    }

    /// An action that cannot be cancelled by force now.
    pub fn not_force_quitable(message: impl Into<String>) -> Self {
        Self::new(405, "ForceQuitActionNotAllowedException", "action.notforcequitable", message)
    }

    /// A distribution set that lacks modules.
    pub fn incomplete(kind: &str, set: u64) -> Self {
        let message = format!("Distribution set of type {kind} is incomplete: {set}");
        Self::new(400, "IncompleteDistributionSetException", "distributionset.incomplete", message)
    }

    /// A module whose type the set's type does not know.
    pub fn unsupported_module(module_type: &str, set_type: &str) -> Self {
        let message = format!("Module type {module_type} does not belong to distribution set type {set_type}");
        Self::new(
            400,
            "UnsupportedSoftwareModuleForThisDistributionSetException",
            "distributionset.modules.unsupported",
            message,
        )
    }

    /// A set or module that was assigned and is not to change any more.
    pub fn locked(kind: &str, id: u64) -> Self {
        Self::new(423, "LockedException", "locked", format!("{kind} {id} is locked"))
    }

    /// A setting that does not exist.
    pub fn no_such_setting(key: &str) -> Self {
        let message = format!("The given configuration key {key} does not exist.");
        Self::new(400, "InvalidTenantConfigurationKeyException", "configKeyInvalid", message)
    }

    /// A value that a setting does not take.
    pub fn setting(message: &str) -> Self {
        Self::new(400, "TenantConfigurationValidatorException", "configValueInvalid", message)
    }

    /// A maintenance window that cannot be read, or never opens again.
    pub fn schedule(message: impl Into<String>) -> Self {
        Self::new(400, "InvalidMaintenanceScheduleException", "maintenanceScheduleInvalid", message)
    }

    /// A filter that cannot be read.
    pub fn query(message: impl Into<String>) -> Self {
        Self::new(400, "RSQLParameterSyntaxException", "rest.param.rsqlParamSyntax", message)
    }

    /// A rollout in a state that does not allow the call.
    pub fn rollout_state(message: impl Into<String>) -> Self {
        Self::new(400, "RolloutIllegalStateException", "rollout.illegalstate", message)
    }

    /// A rollout that nobody would take part in, or with groups that make no sense.
    pub fn rollout(message: impl Into<String>) -> Self {
        Self::new(400, "jakarta.validation.ValidationException", "repo.constraintViolation", message)
    }

    /// Automatic confirmation that is active already.
    pub fn auto_confirm_active(target: &str) -> Self {
        let message = format!("Auto confirmation is already active for target {target}");
        Self::new(409, "AutoConfirmationAlreadyActiveException", "repo.autoConfAlreadyActive", message)
    }
}
