//! The proxy that the environment names.

use mixflow_core::config::Env;
use mixflow_core::error::{Error, ErrorKind, Result};
use ureq::{Proxy, ProxyProtocol};

/// Fails if the variable that names a proxy cannot be used: the HTTP library
/// passes over it and goes to the server by itself.
pub(crate) fn check(env: &Env) -> Result<()> {
    let names = ["ALL_PROXY", "HTTPS_PROXY", "HTTP_PROXY"];
    let names = names
        .into_iter()
        .flat_map(|name| [name.to_owned(), name.to_ascii_lowercase()]);
    // The first one that is set counts.
    let mut set = names.filter_map(|name| Some((env.get(&name)?, name)));
    let Some((value, name)) = set.find(|(value, _)| !value.trim().is_empty()) else {
        return Ok(());
    };
    // A port that is no number would be passed over as well.
    let has_port = |proxy: &Proxy| {
        let authority = proxy.uri().authority();
        authority.is_some_and(|authority| {
            let place = authority.as_str().rsplit('@').next();
            place == Some(authority.host()) || authority.port_u16().is_some()
        })
    };
    let proxy = Proxy::new(&value).ok().filter(has_port);
    let reason = match proxy.map(|proxy| proxy.protocol()) {
        Some(ProxyProtocol::Http | ProxyProtocol::Https) => return Ok(()),
        Some(_) => "this proxy speaks SOCKS, which is not supported",
        None => "this is not the URL of a proxy",
    };
    // The value may hold a password.
    Err(Error::new(
        ErrorKind::Config,
        format!("cannot use the proxy of `{name}`"),
    )
    .because(reason)
    .hint(format!(
        "set `{name}` to a URL such as `http://proxy:3128`, or unset it"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_variable_that_cannot_be_used_is_an_error() {
        for (name, value) in [
            ("HTTPS_PROXY", "http://user:pw-3f@proxy:no-port"),
            ("https_proxy", "ftp://pw-3f@proxy"),
            ("ALL_PROXY", "socks5://pw-3f@proxy:1080"),
            ("HTTP_PROXY", "not a url pw-3f"),
        ] {
            let error = check(&Env::fixed([(name, value)])).expect_err(value);
            assert!(error.message().contains(name), "{error:?}");
            assert!(!format!("{error:?}").contains("pw-3f"), "{error:?}");
        }
        for value in ["http://proxy:3128", "https://u:p@proxy", "proxy:3128", ""] {
            let env = Env::fixed([("HTTPS_PROXY", value)]);
            assert!(check(&env).is_ok(), "{value}");
        }
        assert!(check(&Env::empty()).is_ok());
    }
}
