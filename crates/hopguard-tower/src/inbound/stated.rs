//! The choices without which an inbound stack does not build, and what the compiler says of one that is missing.

/// A mandatory choice that has not been made.
#[derive(Clone, Copy, Debug)]
pub struct Missing;

/// A mandatory choice that has been made.
#[derive(Clone, Copy, Debug)]
pub struct Set;

/// Nobody else can say that a choice was made.
pub trait Sealed {}

impl Sealed for Set {}

/// This inbound stack trusts no issuer, unless this holds.
#[diagnostic::on_unimplemented(
    message = "this inbound stack trusts no issuer",
    label = "`.issuer(…)` is missing",
    note = "say whose tokens it takes: `.issuer(Issuer::at(\"https://sts.internal\"))`"
)]
pub trait IssuerStated: Sealed {}

impl IssuerStated for Set {}

/// This inbound stack has no audience, unless this holds.
#[diagnostic::on_unimplemented(
    message = "this inbound stack has no audience",
    label = "`.audience(…)` is missing",
    note = "name this service's own URI, for which alone tokens are taken: `.audience(\"https://orders.internal\")`"
)]
pub trait AudienceStated: Sealed {}

impl AudienceStated for Set {}

/// This inbound stack does not bound the life of tokens, unless this holds.
#[diagnostic::on_unimplemented(
    message = "this inbound stack does not bound the life of tokens",
    label = "`.ttl(…)` is missing",
    note = "there is no default: `.ttl(Ttl::lifetime_at_most(minutes(5)))`"
)]
pub trait TtlStated: Sealed {}

impl TtlStated for Set {}

/// This inbound stack does not say which scopes it needs, unless this holds.
#[diagnostic::on_unimplemented(
    message = "this inbound stack does not say which scopes it needs",
    label = "`.scope(…)` is missing",
    note = "`.scope(ScopeGuard::all_of([\"orders:read\"]))`, or by name that none is needed: `.scope(ScopeGuard::any_scope())`"
)]
pub trait ScopeStated: Sealed {}

impl ScopeStated for Set {}
