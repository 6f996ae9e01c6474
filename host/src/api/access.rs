//! Who may ask what. Pure: it is given what was presented, and answers why not.

use super::refusal::Refusal;
use crate::config::ApiTokens;

/// What kind of question a route answers.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// Whether it lives: for everybody, since whoever asks may have no place for a token.
    Open,
    Read,
    /// It changes something.
    Admin,
}

/// Whether the presented header `Authorization` is enough. Whoever may change may also read.
pub(super) fn allow(tokens: &ApiTokens, class: Class, header: Option<&[u8]>) -> Result<(), Refusal> {
    let presented = header.map(|header| bearer(header).unwrap_or_default());
    let is = |token: &Option<_>| {
        let token: Option<&crate::access::token::Token> = token.as_ref();
        token.zip(presented).is_some_and(|(token, presented)| token.is(presented))
    };
    // Both are compared in any case: which of them it was does not show in the time.
    let (reader, admin) = (is(&tokens.read), is(&tokens.admin));
    match class {
        Class::Open => Ok(()),
        Class::Read if tokens.read.is_none() || reader || admin => Ok(()),
        Class::Admin if tokens.admin.is_none() => Err(Refusal::Forbidden(
            "nothing can be changed through this API: no api.admin_token is configured".to_owned(),
        )),
        Class::Admin if admin => Ok(()),
        Class::Admin if reader => {
            Err(Refusal::Forbidden("this token may only read; changing needs that of api.admin_token".to_owned()))
        }
        Class::Read | Class::Admin if presented.is_some() => Err(Refusal::WrongToken),
        Class::Read | Class::Admin => Err(Refusal::NoToken),
    }
}

/// What stands behind the scheme, whose letters may be large or small.
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = header.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::token::Token;

    const READ: &str = "the-token-of-readers";
    const ADMIN: &str = "the-token-of-admins";

    /// The refusals of a read and of a change, as the first letter: of `NoToken`, `WrongToken`, `Forbidden`, or `-`.
    #[track_caller]
    fn check(read: bool, admin: bool, header: Option<&str>, expected: &str) {
        let token = |is_set: bool, text| is_set.then(|| Token::new(text).expect("long enough"));
        let tokens = ApiTokens { read: token(read, READ), admin: token(admin, ADMIN) };
        let letter = |class| match allow(&tokens, class, header.map(str::as_bytes)) {
            Ok(()) => '-',
            Err(Refusal::NoToken) => 'N',
            Err(Refusal::WrongToken) => 'W',
            Err(Refusal::Forbidden(_)) => 'F',
            Err(other) => panic!("{other:?}"),
        };
        let found: String = [Class::Open, Class::Read, Class::Admin].map(letter).iter().collect();
        assert_eq!(found, expected, "{header:?}");
    }

    #[test]
    fn every_combination_of_tokens_and_questions() {
        let bearer = |token: &str| format!("Bearer {token}");
        let (reader, admin, wrong) = (bearer(READ), bearer(ADMIN), bearer("something-else-altogether"));
        for (read, changes, nothing, with_reader, with_admin, with_wrong) in [
            (false, false, "--F", "--F", "--F", "--F"),
            (true, false, "-NF", "--F", "-WF", "-WF"),
            (false, true, "--N", "--W", "---", "--W"),
            (true, true, "-NN", "--F", "---", "-WW"),
        ] {
            check(read, changes, None, nothing);
            check(read, changes, Some(&reader), with_reader);
            check(read, changes, Some(&admin), with_admin);
            check(read, changes, Some(&wrong), with_wrong);
        }
        for (header, expected) in [
            (format!("bearer {READ}"), "--F"),
            (format!("Bearer  {READ} "), "--F"),
            (format!("Basic {READ}"), "-WW"),
            (READ.to_owned(), "-WW"),
            ("Bearer ".to_owned(), "-WW"),
            ("Bearer".to_owned(), "-WW"),
            (String::new(), "-WW"),
        ] {
            check(true, true, Some(&header), expected);
        }
    }
}
