//! A bucket's notification rules: ours among those of others.

use aws_sdk_s3::{
    Client,
    operation::get_bucket_notification_configuration::GetBucketNotificationConfigurationOutput,
    types::{
        Event, FilterRule, FilterRuleName, NotificationConfiguration,
        NotificationConfigurationFilter, QueueConfiguration, S3KeyFilter,
    },
};

use crate::{client::S3, error::S3Error};

const EVENTS: [&str; 2] = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"];

/// Objects whose changes are told.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rule {
    /// Their keys begin with it.
    pub prefix: String,
    /// Their keys end with it.
    pub suffix: String,
}

impl S3 {
    /// Makes the bucket tell `arn` of what `add` names, and of what `remove` names no more. All other
    /// rules stay as they are; nothing is written where nothing would change. True if something was.
    ///
    /// # Errors
    /// [`S3Error::Rejected`] when the service knows no such target, else what went wrong.
    pub async fn change_rules(
        &self,
        bucket: &str,
        arn: &str,
        add: &[Rule],
        remove: &[Rule],
    ) -> Result<bool, S3Error> {
        let found = self.notifications(bucket).await?;
        let present = found.queue_configurations.unwrap_or_default();
        let is_ours = |queue: &QueueConfiguration| {
            without_region(&queue.queue_arn) == without_region(arn) && tells_everything(queue)
        };
        let is_unwanted = |queue: &QueueConfiguration| {
            let rule = rule(queue);
            is_ours(queue) && remove.contains(&rule) && !add.contains(&rule)
        };
        let mut queues: Vec<_> =
            present.iter().filter(|queue| !is_unwanted(queue)).cloned().collect();
        let is_smaller = queues.len() < present.len();
        let mut is_larger = false;
        for wanted in add {
            if queues.iter().any(|queue| is_ours(queue) && rule(queue) == *wanted) {
                continue;
            }
            is_larger = true;
            queues.push(queue(arn, wanted).map_err(|detail| S3Error::Rejected {
                action: "PutBucketNotificationConfiguration",
                bucket: bucket.to_owned(),
                detail,
            })?);
        }
        if !is_smaller && !is_larger {
            return Ok(false);
        }
        let configuration = NotificationConfiguration::builder()
            .set_queue_configurations(Some(queues))
            .set_topic_configurations(found.topic_configurations)
            .set_lambda_function_configurations(found.lambda_function_configurations)
            .set_event_bridge_configuration(found.event_bridge_configuration)
            .build();
        let put = |client: Client| {
            let put = client.put_bucket_notification_configuration().bucket(bucket);
            put.notification_configuration(configuration.clone()).send()
        };
        self.call("PutBucketNotificationConfiguration", bucket, put).await?;
        Ok(true)
    }

    /// What the bucket tells `arn` of.
    ///
    /// # Errors
    /// What went wrong.
    pub async fn rules(&self, bucket: &str, arn: &str) -> Result<Vec<Rule>, S3Error> {
        let queues = self.notifications(bucket).await?.queue_configurations.unwrap_or_default();
        let ours = queues.iter().filter(|q| without_region(&q.queue_arn) == without_region(arn));
        Ok(ours.map(rule).collect())
    }

    async fn notifications(
        &self,
        bucket: &str,
    ) -> Result<GetBucketNotificationConfigurationOutput, S3Error> {
        let get =
            |client: Client| client.get_bucket_notification_configuration().bucket(bucket).send();
        self.call("GetBucketNotificationConfiguration", bucket, get).await
    }
}

/// `arn:minio:sqs:<region>:<id>:webhook`: the server fills its region in.
fn without_region(arn: &str) -> Vec<&str> {
    let parts = arn.split(':').enumerate();
    parts.filter(|(place, _)| *place != 3).map(|(_, part)| part).collect()
}

fn tells_everything(queue: &QueueConfiguration) -> bool {
    let events = &queue.events;
    events.len() == EVENTS.len()
        && EVENTS.iter().all(|wanted| events.iter().any(|event| event.as_str() == *wanted))
}

fn rule(queue: &QueueConfiguration) -> Rule {
    let rules = queue.filter.as_ref().and_then(|filter| filter.key.as_ref());
    let rules = rules.and_then(|key| key.filter_rules.as_deref()).unwrap_or_default();
    let value = |name: &FilterRuleName| {
        let found = rules.iter().find(|rule| rule.name.as_ref() == Some(name));
        found.and_then(|rule| rule.value.clone()).unwrap_or_default()
    };
    Rule { prefix: value(&FilterRuleName::Prefix), suffix: value(&FilterRuleName::Suffix) }
}

fn queue(arn: &str, rule: &Rule) -> Result<QueueConfiguration, String> {
    let filters = [(FilterRuleName::Prefix, &rule.prefix), (FilterRuleName::Suffix, &rule.suffix)];
    let mut key = S3KeyFilter::builder();
    let mut is_filtered = false;
    for (name, value) in filters {
        if !value.is_empty() {
            key = key.filter_rules(FilterRule::builder().name(name).value(value).build());
            is_filtered = true;
        }
    }
    let mut queue = QueueConfiguration::builder().queue_arn(arn);
    for event in EVENTS {
        queue = queue.events(Event::from(event));
    }
    if is_filtered {
        let filter = NotificationConfigurationFilter::builder().key(key.build()).build();
        queue = queue.filter(filter);
    }
    queue.build().map_err(|error| error.to_string())
}
