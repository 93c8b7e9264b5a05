//! JSON tokens: the cursor that walks bytes and refuses what RFC 8259 does not allow. Copies nothing, calls itself never.
//!
//! Accepts what `serde_json` accepts when it skips a value, but nesting to exactly [`JSON_DEPTH_MAX`]. So numbers of any size and
//! halves of surrogate pairs pass: they are only relayed.

use super::{
    Span,
    block::{self, Look},
};
use crate::limits::JSON_DEPTH_MAX;

/// Small enough to come back in a register, whatever `T` is.
pub(super) type Step<T> = Result<T, Halt>;

/// The bytes are not JSON: the cursor stands where, and knows why.
#[derive(Debug)]
pub(super) struct Halt;

// One bit of the stack in `value` per level.
const _: () = assert!(JSON_DEPTH_MAX <= u128::BITS as usize);

pub(super) struct Cursor<'a> {
    pub bytes: &'a [u8],
    pub at: usize,
    look: Look,
    /// A CR or LF was passed between tokens.
    pub newline: bool,
    /// A key `uri`, or one written with escapes that could be it, was passed inside a value.
    pub inner_uri: bool,
    /// Why it halted.
    pub why: &'static str,
}

/// What a value is, told by its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    Object,
    Array,
    Text,
    Integer,
    /// With fraction or exponent.
    Real,
    Null,
    Bool,
}

/// A member's key as it stands, quotes included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    pub span: Span,
    pub escaped: bool,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, look: Look::at(bytes), newline: false, inner_uri: false, why: "" }
    }

    /// Passes white space and shows the next byte; 0, which starts no token, at the end.
    #[inline(always)]
    pub(super) fn token(&mut self) -> u8 {
        match self.bytes.get(self.at) {
            Some(&byte) if byte > b' ' => byte,
            _ => self.token_after_space(),
        }
    }

    fn token_after_space(&mut self) -> u8 {
        while let Some(&byte) = self.bytes.get(self.at) {
            match byte {
                b' ' | b'\t' => {}
                b'\n' | b'\r' => self.newline = true,
                other => return other,
            }
            self.at += 1;
        }
        0
    }

    /// Halts for what stands here, or for the end of the text.
    #[cold]
    pub(super) fn halt<T>(&mut self, why: &'static str) -> Step<T> {
        self.why = if self.at < self.bytes.len() { why } else { "unexpected end" };
        Err(Halt)
    }

    /// Only white space up to the end, and all of it UTF-8.
    pub(super) fn end(&mut self) -> Step<()> {
        self.token();
        if self.at < self.bytes.len() {
            return self.halt("more after the end of the message");
        }
        if !self.look.ascii && simdutf8::basic::from_utf8(self.bytes).is_err() {
            self.at = std::str::from_utf8(self.bytes).map_or_else(|error| error.valid_up_to(), str::len);
            return self.halt("not UTF-8");
        }
        Ok(())
    }

    /// From `start` to here. Lengths were checked to fit `u32` before the walk.
    #[inline(always)]
    pub(super) fn span_from(&self, start: usize) -> Span {
        Span::new(start as u32, self.at as u32)
    }

    /// The next member's key, with the cursor left at its value; `None` past the closing brace.
    /// `first`: the cursor stands just past the opening brace, else just past a value.
    #[inline(always)]
    pub(super) fn key(&mut self, first: bool) -> Step<Option<Key>> {
        match (self.token(), first) {
            (b'}', _) => {
                self.at += 1;
                return Ok(None);
            }
            (b'"', true) => {}
            (b',', false) => {
                self.at += 1;
                if self.token() != b'"' {
                    return self.halt("expected a key");
                }
            }
            (_, true) => return self.halt("expected a key or `}`"),
            (_, false) => return self.halt("expected `,` or `}`"),
        }
        let start = self.at;
        let escaped = self.string()?;
        let span = self.span_from(start);
        self.colon()?;
        self.token();
        Ok(Some(Key { span, escaped }))
    }

    #[inline(always)]
    fn colon(&mut self) -> Step<()> {
        if self.token() != b':' {
            return self.halt("expected `:`");
        }
        self.at += 1;
        Ok(())
    }

    /// Passes the value here with all that is in it, `outer` containers deep.
    #[inline]
    pub(super) fn value(&mut self, outer: usize) -> Step<Shape> {
        match self.token() {
            b'"' => self.string().map(|_| Shape::Text),
            b'{' => self.container(outer).map(|()| Shape::Object),
            b'[' => self.container(outer).map(|()| Shape::Array),
            other => self.scalar(other),
        }
    }

    /// From an opening brace or bracket to the matching one. The stack is a bit per level: 1 in an object.
    fn container(&mut self, outer: usize) -> Step<()> {
        let mut stack: u128 = 0;
        let mut depth = outer;
        'value: loop {
            match self.token() {
                b'"' => _ = self.string()?,
                open @ (b'{' | b'[') => {
                    if depth >= JSON_DEPTH_MAX {
                        return self.halt("nested too deep");
                    }
                    depth += 1;
                    self.at += 1;
                    stack = stack << 1 | u128::from(open == b'{');
                    let next = self.token();
                    // `{` and `}`, `[` and `]` are two apart.
                    if next != open + 2 {
                        if open == b'{' {
                            self.member(next)?;
                        }
                        continue 'value;
                    }
                    self.at += 1;
                    stack >>= 1;
                    depth -= 1;
                }
                other => _ = self.scalar(other)?,
            }
            while depth > outer {
                let in_object = stack & 1 == 1;
                match (self.token(), in_object) {
                    (b',', true) => {
                        self.at += 1;
                        let next = self.token();
                        self.member(next)?;
                        continue 'value;
                    }
                    (b',', false) => {
                        self.at += 1;
                        continue 'value;
                    }
                    (b'}', true) | (b']', false) => {
                        self.at += 1;
                        stack >>= 1;
                        depth -= 1;
                    }
                    (_, true) => return self.halt("expected `,` or `}`"),
                    (_, false) => return self.halt("expected `,` or `]`"),
                }
            }
            return Ok(());
        }
    }

    /// A key inside a value, and its colon.
    #[inline(always)]
    fn member(&mut self, next: u8) -> Step<()> {
        if next != b'"' {
            return self.halt("expected a key");
        }
        let start = self.at;
        let escaped = self.string()?;
        self.inner_uri |= escaped || self.bytes.get(start..self.at) == Some(br#""uri""#);
        self.colon()
    }

    #[inline]
    fn scalar(&mut self, first: u8) -> Step<Shape> {
        match first {
            b'-' | b'0'..=b'9' => self.number(),
            b't' => self.literal(b"true", Shape::Bool),
            b'f' => self.literal(b"false", Shape::Bool),
            b'n' => self.literal(b"null", Shape::Null),
            _ => self.halt("expected a value"),
        }
    }

    #[inline]
    fn literal(&mut self, text: &'static [u8], shape: Shape) -> Step<Shape> {
        if self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(text)) {
            self.at += text.len();
            return Ok(shape);
        }
        self.halt("expected `true`, `false` or `null`")
    }

    #[inline]
    fn number(&mut self) -> Step<Shape> {
        if self.peek() == b'-' {
            self.at += 1;
        }
        match self.peek() {
            b'0' => self.at += 1,
            b'1'..=b'9' => self.digits(),
            _ => return self.halt("expected a digit"),
        }
        let mut shape = Shape::Integer;
        if self.peek() == b'.' {
            shape = Shape::Real;
            self.at += 1;
            self.some_digits()?;
        }
        if matches!(self.peek(), b'e' | b'E') {
            shape = Shape::Real;
            self.at += 1;
            if matches!(self.peek(), b'+' | b'-') {
                self.at += 1;
            }
            self.some_digits()?;
        }
        Ok(shape)
    }

    #[inline(always)]
    fn peek(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn digits(&mut self) {
        while self.peek().is_ascii_digit() {
            self.at += 1;
        }
    }

    #[inline(always)]
    fn some_digits(&mut self) -> Step<()> {
        if !self.peek().is_ascii_digit() {
            return self.halt("expected a digit");
        }
        self.digits();
        Ok(())
    }

    /// From a quote past the closing one; true when the string holds an escape.
    #[inline]
    pub(super) fn string(&mut self) -> Step<bool> {
        self.at += 1;
        if let Some(stop) = block::near_stop(self.bytes, self.at)
            && self.bytes.get(stop) == Some(&b'"')
        {
            self.at = stop + 1;
            return Ok(false);
        }
        self.long_string()
    }

    /// The same from inside. Goes from block to block, not from stop to stop, so that the processor need not wait for one to begin the next.
    fn long_string(&mut self) -> Step<bool> {
        /// After so many blocks without a stop, the next is looked for far away.
        const QUIET_BLOCKS: u32 = 2;
        let mut escaped = false;
        let mut quiet = 0;
        'block: loop {
            let mut stops = block::stops(self.bytes, self.at);
            quiet = if stops == 0 { quiet + 1 } else { 0 };
            while stops != 0 {
                let bit = stops.trailing_zeros();
                let stop = self.at + bit as usize;
                match self.bytes.get(stop) {
                    Some(b'"') => {
                        self.at = stop + 1;
                        return Ok(escaped);
                    }
                    Some(b'\\') => escaped = true,
                    _ => {
                        self.at = stop;
                        return self.halt("control character in a string");
                    }
                }
                let len = self.escape(stop)?;
                if bit as usize + len > block::WIDTH {
                    self.at = stop + len;
                    continue 'block;
                }
                // Neither the backslash nor what it escapes stops the string; the rest of `\u` is no stop anyway.
                stops &= !(0b11 << bit);
            }
            self.at += block::WIDTH;
            if self.at >= self.bytes.len() {
                self.at = self.bytes.len();
                return self.halt("unexpected end");
            }
            if quiet == QUIET_BLOCKS {
                self.at = block::far_stop(self.bytes, self.at, self.look.clean);
                quiet = 0;
            }
        }
    }

    /// The length of the escape at `at`. Half a surrogate pair passes, as it does in most peers: a text cut in the middle of an emoji
    /// must not cost the answer it is in. It cannot be unescaped, so it is never a name.
    #[inline(always)]
    fn escape(&mut self, at: usize) -> Step<usize> {
        let rest = self.bytes.get(at..).unwrap_or_default();
        match rest.get(1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(2),
            Some(b'u') if rest.first_chunk().and_then(super::text::hex).is_some() => Ok(6),
            _ => {
                self.at = at;
                self.halt("invalid escape")
            }
        }
    }
}
