//! A run that a server executes, shown as if it were here.

use serde_json::{Map, Value};

use super::{
    Options, code, report,
    show::{FRAME, Show},
};
use crate::{
    api::{self, CancelRun, CreateRun},
    cli::{
        Context,
        document::Whole,
        fault::{Fault, exit},
        interrupt::{Attending, Interrupts},
        live::skeleton,
        loading, reading,
        sessions::labels,
    },
    client::{Client, Follow, News},
    model::RunId,
    runbook::ParamSpec,
};

/// A stored runbook.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    pub name: &'a str,
    pub version: Option<u32>,
}

pub async fn run(context: &Context, options: &Options, client: &Client, wanted: Wanted<'_>) -> Result<u8, Fault> {
    let interrupts = Interrupts::listen()?;
    let request = request(options, client, wanted).await?;
    let created = client.create_run(&request).await?;
    if options.detach {
        if context.out.is_json() {
            context.out.json(&created);
        } else {
            context.out.line(created.id.to_string());
        }
        return Ok(exit::SUCCESS);
    }
    let attending = attend(context, client, created.id, interrupts);
    let steps = client.list_steps(created.id).await?.items;
    let show = Show::new(context, skeleton(&created, &steps), created.id, options.quiet);
    let show = watch(context, client, show).await?;
    let whole = Whole::read(client, created.id).await?;
    report(context, options, &whole, &show.watch);
    if !whole.run.status.is_ended() {
        return Ok(exit::FAULT);
    }
    Ok(code(whole.run.status, attending.was_interrupted()))
}

async fn request(options: &Options, client: &Client, wanted: Wanted<'_>) -> Result<CreateRun, Fault> {
    let params = if options.params.is_empty() {
        Map::new()
    } else {
        // The server checks them; here text only becomes what the runbook declares.
        let runbook = client.get_runbook(wanted.name).await?;
        loading::given(&specs(&runbook), &options.params)?
    };
    Ok(CreateRun {
        runbook: wanted.name.to_owned(),
        version: wanted.version,
        params: (!params.is_empty()).then_some(params),
        session_id: options.session,
        lane: options.lane,
        priority: options.priority,
        labels: Some(labels(&options.label)?).filter(|labels| !labels.is_empty()),
    })
}

fn specs(runbook: &api::Runbook) -> Vec<ParamSpec> {
    let spec = |param: &api::Param| ParamSpec {
        name: param.name.clone(),
        schema: Value::Object(param.schema.clone()),
        required: param.required,
        default: param.default.clone(),
    };
    runbook.params.iter().map(spec).collect()
}

/// Cancels the run at a signal, as one that is executed here.
fn attend(context: &Context, client: &Client, run: RunId, interrupts: Interrupts) -> Attending {
    let (client, out) = (client.clone(), context.out.clone());
    interrupts.cancel(context.out.clone(), move |name, force| {
        let (client, out) = (client.clone(), out.clone());
        async move {
            let asked = client.cancel_run(run, &CancelRun { reason: Some(name.to_owned()), force }).await;
            match asked {
                // It has ended by itself.
                Err(error) if error.problem().is_some_and(|problem| problem.code == "RUN_ENDED") => {}
                Err(error) => out.message(format!("the server could not be told: {error}")),
                Ok(_) => {}
            }
        }
    })
}

/// Shows the run until it has ended, or waits for a person.
async fn watch(context: &Context, client: &Client, mut show: Show) -> Result<Show, Fault> {
    let mut events: Follow = client.follow(show.run, 0).await?;
    let mut frames = tokio::time::interval(FRAME);
    while !show.held {
        tokio::select! {
            news = events.next() => match news? {
                None => break,
                Some(News::Event(event)) => show.take(&event),
                Some(other) => reading::tell(&context.out, client, &other),
            },
            _ = frames.tick() => show.tick(),
        }
    }
    show.finish();
    Ok(show)
}
