//! The three requests of llm-ls (llm.nvim, llm-vscode). Backend, model and token fields are not
//! ours: the model is the server's.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tower_lsp::LspServiceBuilder;
use tower_lsp::jsonrpc::Result;

use crate::answer::Answered;
use crate::dialect::Dialect;
use crate::event::Event;
use crate::inline::{Params, TextDocument, WirePosition};
use crate::server::Server;

pub struct LlmLs;

impl Dialect<Server> for LlmLs {
    /// Its clients use nothing of LSP's but documents.
    fn claims(&self, _: &Value) -> bool {
        false
    }

    fn register(&self, builder: LspServiceBuilder<Server>) -> LspServiceBuilder<Server> {
        builder
            .custom_method("llm-ls/getCompletions", Server::llm_ls_completions)
            .custom_method("llm-ls/acceptCompletion", Server::llm_ls_accepted)
            .custom_method("llm-ls/rejectCompletion", Server::llm_ls_rejected)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GetCompletions {
    text_document: TextDocument,
    position: WirePosition,
}

/// Snake case here, camel case in the requests: so it is in llm-ls.
#[derive(Serialize)]
pub struct Completions {
    request_id: String,
    completions: Vec<Completion>,
}

/// Inserted at the cursor as it is.
#[derive(Serialize)]
struct Completion {
    generated_text: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    request_id: String,
}

impl Server {
    async fn llm_ls_completions(&self, params: GetCompletions) -> Result<Completions> {
        let Answered { texts, ids, .. } =
            self.answer(&Params::at(&params.text_document.uri, params.position, false)).await?;
        // One text a request: the request's name is the suggestion's. Clients send it back even
        // when there was none.
        let request_id = ids.into_iter().next().unwrap_or_else(|| "none".to_owned());
        Ok(Completions {
            request_id,
            completions: texts
                .into_iter()
                .map(|generated_text| Completion { generated_text })
                .collect(),
        })
    }

    async fn llm_ls_accepted(&self, params: Decision) -> Result<Value> {
        self.told_of(&Event::Accepted { id: params.request_id });
        Ok(Value::Null)
    }

    async fn llm_ls_rejected(&self, params: Decision) -> Result<Value> {
        self.told_of(&Event::Dismissed { id: params.request_id });
        Ok(Value::Null)
    }
}
