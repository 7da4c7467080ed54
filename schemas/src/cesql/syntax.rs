//! An expression as it was written: the typed tree that the parser makes, with places for messages.

/// A part of an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Syntax {
    /// Where it begins, in bytes; for operators with two operands, the left one's beginning.
    pub(super) at: usize,
    pub(super) term: Term,
}

/// What a part is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Term {
    Boolean(bool),
    Integer(i32),
    Text(String),
    /// Lower-case, as attributes are named.
    Attribute(String),
    Exists(String),
    Unary(Unary, Box<Syntax>),
    /// Operands joined by operators of one level of precedence, to be taken from left to right. A list instead of nested
    /// pairs: a long `OR` is as shallow as a short one.
    Chain(Box<Syntax>, Vec<Link>),
    Like {
        operand: Box<Syntax>,
        negated: bool,
        pattern: String,
    },
    In {
        operand: Box<Syntax>,
        negated: bool,
        set: Vec<Syntax>,
    },
    /// The name is upper-case.
    Call {
        name: String,
        arguments: Vec<Syntax>,
    },
}

/// An operator and its right operand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) operator: Binary,
    /// Where the operator stands.
    pub(super) at: usize,
    pub(super) right: Syntax,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unary {
    Not,
    Negate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binary {
    And,
    Or,
    Xor,
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Remainder,
}
