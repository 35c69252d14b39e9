//! The Store port on Redis: one hash per value, one index of all keys, one hash of fencing tokens.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use incident::ports::{Expect, Fence, Put, Store, StoreError, Versioned};
use redis::{Script, ScriptInvocation, Value};

use super::link::Certain;
use super::{Server, reply};

/// The store of a server.
#[derive(Debug)]
pub(super) struct RedisStore {
    server: Arc<Server>,
}

fn call<'a>(server: &Server, script: &'a Script) -> ScriptInvocation<'a> {
    let own = |kind: &str| format!("{}nightshift:{kind}", server.config.prefix);
    let mut call = script.key(own("value:"));
    call.key(own("values"))
        .key(own("value-ends"))
        .key(own("fences"));
    call
}

/// Takes expired values out of the index, step by step. The server removes the values themselves.
pub(super) async fn expire(server: &Server) -> Result<(), String> {
    loop {
        let rows = server.config.sweep_rows;
        let mut step = call(server, &server.scripts.expire);
        step.arg(rows);
        let gone = server
            .link
            .ask(&step, Certain::Never)
            .await
            .map_err(|failure| failure.error)?;
        if reply::count(&gone)? < rows as u64 {
            return Ok(());
        }
    }
}

fn expected(expect: Expect) -> String {
    match expect {
        Expect::Any => String::from("any"),
        Expect::Absent => String::from("absent"),
        Expect::Version(version) => version.to_string(),
    }
}

fn life(ttl: Option<Duration>) -> u64 {
    ttl.map_or(0, |ttl| {
        let ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX);
        ms.clamp(1, 1 << 46)
    })
}

fn found(version: u64) -> Option<u64> {
    (version > 0).then_some(version)
}

impl RedisStore {
    pub(super) fn new(server: Arc<Server>) -> Self {
        Self { server }
    }

    async fn run(&self, call: ScriptInvocation<'_>, certain: Certain) -> Result<Value, StoreError> {
        let answer = self.server.link.ask(&call, certain).await;
        answer.map_err(|failure| StoreError::Unavailable(failure.error))
    }
}

/// What the put script said.
fn written(puts: &[Put], answer: Value) -> Result<Result<Vec<u64>, StoreError>, String> {
    let answer = reply::list(answer)?;
    let (status, rest) = answer.split_first().ok_or(reply::ODD)?;
    let numbers: Vec<u64> = rest.iter().map(reply::count).collect::<Result<_, _>>()?;
    let refused = |numbers: &[u64]| match numbers {
        [which, found] => {
            let put = usize::try_from(*which)
                .ok()
                .and_then(|which| puts.get(which));
            put.map(|put| (put, *found))
        }
        _ => None,
    };
    match status {
        Value::BulkString(text) if text == b"ok" => Ok(Ok(numbers)),
        Value::BulkString(text) if text == b"conflict" => {
            let (put, version) = refused(&numbers).ok_or(reply::ODD)?;
            Ok(Err(StoreError::Conflict {
                key: put.key.clone(),
                found: found(version),
            }))
        }
        Value::BulkString(text) if text == b"stale" => {
            let (put, newest) = refused(&numbers).ok_or(reply::ODD)?;
            let fence = put.fence.as_ref().ok_or(reply::ODD)?;
            Ok(Err(StoreError::Stale {
                name: fence.name.clone(),
                token: fence.token,
                newest,
            }))
        }
        _ => Err(reply::ODD.to_owned()),
    }
}

fn versioned(version: &Value, value: Value) -> Result<Versioned, String> {
    let version = match version {
        Value::Int(number) => u64::try_from(*number).ok(),
        Value::BulkString(text) => std::str::from_utf8(text).ok().and_then(|n| n.parse().ok()),
        _ => None,
    };
    Ok(Versioned {
        version: version.ok_or(reply::ODD)?,
        value: reply::bytes(value)?,
    })
}

#[async_trait]
impl Store for RedisStore {
    async fn get(&self, key: &str) -> Result<Option<Versioned>, StoreError> {
        Put::check_key(key)?;
        let name = format!("{}nightshift:value:{key}", self.server.config.prefix);
        let mut command = redis::cmd("HMGET");
        command.arg(name).arg("v").arg("d");
        let answer = self.server.link.ask(&command, Certain::Look).await;
        let answer = answer.map_err(|failure| StoreError::Unavailable(failure.error))?;
        let read = || -> Result<Option<Versioned>, String> {
            let [version, value] = reply::exactly(answer)?;
            if matches!(version, Value::Nil) {
                return Ok(None);
            }
            versioned(&version, value).map(Some)
        };
        read().map_err(|why| StoreError::Corrupt {
            key: key.to_owned(),
            why,
        })
    }

    async fn put(&self, put: Put) -> Result<u64, StoreError> {
        let key = put.key.clone();
        let versions = self.put_all(vec![put]).await?;
        versions.into_iter().next().ok_or(StoreError::Corrupt {
            key,
            why: reply::ODD.to_owned(),
        })
    }

    async fn put_all(&self, puts: Vec<Put>) -> Result<Vec<u64>, StoreError> {
        Put::check_batch(&puts)?;
        if puts.is_empty() {
            return Ok(Vec::new());
        }
        let mut call = call(&self.server, &self.server.scripts.put);
        for put in &puts {
            call.arg(&put.key).arg(&put.value);
            call.arg(expected(put.expect)).arg(life(put.ttl));
            match &put.fence {
                Some(fence) => call.arg(&fence.name).arg(fence.token),
                None => call.arg("").arg(""),
            };
        }
        let answer = self.run(call, Certain::Always).await?;
        written(&puts, answer).map_err(StoreError::Unavailable)?
    }

    async fn delete(&self, key: &str, expect: Expect) -> Result<bool, StoreError> {
        Put::check_key(key)?;
        let mut call = call(&self.server, &self.server.scripts.delete);
        call.arg(key).arg(expected(expect));
        let answer = self.run(call, Certain::Always).await?;
        let read = || -> Result<(bool, u64), String> {
            let [status, number] = reply::exactly(answer)?;
            Ok((reply::bytes(status)? == b"ok", reply::count(&number)?))
        };
        match read().map_err(StoreError::Unavailable)? {
            (true, number) => Ok(number > 0),
            (false, version) => Err(StoreError::Conflict {
                key: key.to_owned(),
                found: found(version),
            }),
        }
    }

    async fn list(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, Versioned)>, StoreError> {
        let mut call = call(&self.server, &self.server.scripts.list);
        call.arg(prefix)
            .arg(u8::from(after.is_some()))
            .arg(after.unwrap_or_default())
            .arg(limit);
        let answer = self.run(call, Certain::Look).await?;
        let read = || -> Result<Vec<(String, Versioned)>, String> {
            let row = |row| {
                let [key, version, value] = reply::exactly(row)?;
                Ok((reply::text(key)?, versioned(&version, value)?))
            };
            reply::list(answer)?.into_iter().map(row).collect()
        };
        read().map_err(|why| StoreError::Corrupt {
            key: prefix.to_owned(),
            why,
        })
    }

    async fn fence(&self, name: &str) -> Result<Fence, StoreError> {
        Put::check_key(name)?;
        let tokens = format!("{}nightshift:fences", self.server.config.prefix);
        let mut command = redis::cmd("HINCRBY");
        command.arg(tokens).arg(name).arg(1);
        let answer = self.server.link.ask(&command, Certain::Always).await;
        let answer = answer.map_err(|failure| StoreError::Unavailable(failure.error))?;
        let token = reply::count(&answer).map_err(StoreError::Unavailable)?;
        Ok(Fence {
            name: name.to_owned(),
            token,
        })
    }
}
