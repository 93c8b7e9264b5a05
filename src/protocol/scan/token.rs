//! JSON tokens (RFC 8259): white space, strings, numbers, whole values, without recursion and without allocation.

use memchr::memchr2;

use super::Span;
use crate::limits::JSON_DEPTH_MAX;

/// Why the bytes are not JSON, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    pub what: &'static str,
    pub at: usize,
}

/// A string token, quotes included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    pub span: Span,
    pub escaped: bool,
}

/// Reads tokens from left to right. The bytes are known to be UTF-8.
pub(super) struct Tokens<'a> {
    bytes: &'a [u8],
    at: usize,
    /// No byte below 0x20 anywhere: strings need not be looked through for them.
    clean: bool,
}

/// Strings shorter than this are walked; `memchr` pays off beyond it.
const WALK: usize = 16;

impl<'a> Tokens<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, clean: is_clean(bytes) }
    }

    pub(super) fn is_clean(&self) -> bool {
        self.clean
    }

    pub(super) fn at(&self) -> usize {
        self.at
    }

    pub(super) fn broken<T>(&self, what: &'static str) -> Result<T, Broken> {
        let what = if self.at >= self.bytes.len() { "the text ends too early" } else { what };
        Err(Broken { what, at: self.at })
    }

    pub(super) fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// From `start` to here.
    pub(super) fn span(&self, start: usize) -> Span {
        Span { start: to_u32(start), end: to_u32(self.at) }
    }

    pub(super) fn space(&mut self) {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    pub(super) fn eat(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Past white space, `"key"`, white space and the colon.
    pub(super) fn key(&mut self) -> Result<Text, Broken> {
        self.space();
        if self.peek() != Some(b'"') {
            return self.broken("expected a key in quotes");
        }
        let key = self.string()?;
        self.space();
        if !self.eat(b':') {
            return self.broken("expected ':' after a key");
        }
        self.space();
        Ok(key)
    }

    /// At the opening quote.
    pub(super) fn string(&mut self) -> Result<Text, Broken> {
        let start = self.at;
        self.at += 1;
        let mut escaped = false;
        loop {
            match self.next_special() {
                Some(b'"') => {
                    self.at += 1;
                    let text = Text { span: self.span(start), escaped };
                    return if self.clean { Ok(text) } else { self.without_controls(text) };
                }
                Some(b'\\') => {
                    escaped = true;
                    self.escape()?;
                }
                _ => {
                    self.at = self.bytes.len();
                    return self.broken("a string without its closing quote");
                }
            }
        }
    }

    /// Moves to the next quote or backslash.
    fn next_special(&mut self) -> Option<u8> {
        let rest = self.bytes.get(self.at..)?;
        for (offset, byte) in rest.iter().take(WALK).enumerate() {
            if matches!(byte, b'"' | b'\\') {
                self.at += offset;
                return Some(*byte);
            }
        }
        let far = rest.get(WALK..)?;
        let offset = memchr2(b'"', b'\\', far)?;
        self.at += WALK + offset;
        far.get(offset).copied()
    }

    fn escape(&mut self) -> Result<(), Broken> {
        self.at += 1;
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return self.broken("expected four hexadecimal digits after \\u");
                    }
                    self.at += 1;
                }
            }
            _ => return self.broken("an escape that JSON does not have"),
        }
        Ok(())
    }

    fn without_controls(&mut self, text: Text) -> Result<Text, Broken> {
        let start = text.span.start as usize;
        match self.bytes.get(start..self.at).and_then(|token| token.iter().position(|byte| *byte < 0x20)) {
            None => Ok(text),
            Some(offset) => {
                self.at = start + offset;
                self.broken("a control character inside a string")
            }
        }
    }

    fn number(&mut self) -> Result<(), Broken> {
        self.eat(b'-');
        match self.peek() {
            Some(b'0') => self.at += 1,
            Some(b'1'..=b'9') => self.digits(),
            _ => return self.broken("expected a digit"),
        }
        if self.eat(b'.') {
            self.some_digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.some_digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) {
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
    }

    fn some_digits(&mut self) -> Result<(), Broken> {
        let start = self.at;
        self.digits();
        if self.at == start { self.broken("expected a digit") } else { Ok(()) }
    }

    fn literal(&mut self, word: &'static [u8]) -> Result<(), Broken> {
        if self.bytes.get(self.at..).is_some_and(|rest| rest.starts_with(word)) {
            self.at += word.len();
            return Ok(());
        }
        self.broken("expected a value")
    }

    /// Past one whole value, which lies `depth` levels deep.
    pub(super) fn value(&mut self, depth: usize) -> Result<Span, Broken> {
        let start = self.at;
        // One bit a level, the innermost lowest: set for objects. `JSON_DEPTH_MAX` bits are enough.
        let mut kinds: u128 = 0;
        let mut open = 0;
        loop {
            match self.peek() {
                Some(byte @ (b'{' | b'[')) => {
                    open += 1;
                    if depth + open > JSON_DEPTH_MAX {
                        return self.broken("nested too deeply");
                    }
                    self.at += 1;
                    self.space();
                    let is_object = byte == b'{';
                    kinds = kinds << 1 | u128::from(is_object);
                    if !matches!(self.peek(), Some(b'}' | b']')) {
                        if is_object {
                            self.key()?;
                        }
                        continue;
                    }
                }
                Some(b'"') => {
                    self.string()?;
                }
                Some(b't') => self.literal(b"true")?,
                Some(b'f') => self.literal(b"false")?,
                Some(b'n') => self.literal(b"null")?,
                Some(b'-' | b'0'..=b'9') => self.number()?,
                _ => return self.broken("expected a value"),
            }
            // Behind a value, or at the end of an empty container: on to the next value of what is open.
            loop {
                if open == 0 {
                    return Ok(self.span(start));
                }
                self.space();
                let is_object = kinds & 1 == 1;
                match self.peek() {
                    // Never right behind an opening bracket: there only the closing one leads here.
                    Some(b',') => {
                        self.at += 1;
                        if is_object {
                            self.key()?;
                        } else {
                            self.space();
                        }
                        break;
                    }
                    Some(b'}') if is_object => self.at += 1,
                    Some(b']') if !is_object => self.at += 1,
                    _ => return self.broken("expected ',' or the end of what is open"),
                }
                open -= 1;
                kinds >>= 1;
            }
        }
    }
}

/// Autovectorised: one comparison per 16 bytes or more.
fn is_clean(bytes: &[u8]) -> bool {
    bytes.iter().fold(u8::MAX, |least, byte| least.min(*byte)) >= 0x20
}

/// Offsets fit: `scan` refuses longer texts.
fn to_u32(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}
