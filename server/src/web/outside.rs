//! What the pages ask of providers, and of the two HTTP clients: the server's side of [`app::outside`].

use app::{outside::Asked, pages::developer::integrations::QrPicture};
use domain::{
    Error,
    ids::InstanceId,
    instances::{Provider, Session},
    people::Actor,
};
use qrcode::{Color, QrCode};

use crate::{
    providers::connecting::{self, Failed},
    state::AppState,
};

/// The providers and clients of this server.
pub struct Outside(pub AppState);

/// What a provider said is a sentence for whoever asked.
fn told(failed: Failed) -> Error {
    match failed {
        Failed::Ours(error) => error,
        Failed::Theirs(error) => Error::Conflict(error.to_string()),
    }
}

impl app::outside::Outside for Outside {
    fn connect<'a>(&'a self, actor: &'a Actor, instance: InstanceId) -> Asked<'a, Session> {
        Box::pin(async move { connecting::connect(&self.0, actor, instance).await.map_err(told) })
    }

    fn disconnect<'a>(&'a self, actor: &'a Actor, instance: InstanceId, log_out: bool) -> Asked<'a, ()> {
        Box::pin(async move { connecting::disconnect(&self.0, actor, instance, log_out).await.map(drop).map_err(told) })
    }

    fn look<'a>(&'a self, actor: &'a Actor, instance: InstanceId) -> Asked<'a, Session> {
        Box::pin(async move { connecting::look(&self.0, actor, instance).await.map_err(told) })
    }

    fn qr<'a>(&'a self, actor: &'a Actor, instance: InstanceId) -> Asked<'a, QrPicture> {
        Box::pin(async move { picture(&connecting::qr(&self.0, actor, instance).await.map_err(told)?) })
    }

    fn hook_url(&self, instance: InstanceId, provider: Provider) -> Option<String> {
        connecting::hook_url(&self.0.public_url, provider, instance)
    }

    fn check_webhook(&self, url: &str) -> Result<(), String> {
        self.0.net.webhooks.check(url).map(drop)
    }

    fn check_provider(&self, url: &str) -> Result<(), String> {
        self.0.net.providers.check(url).map(drop)
    }
}

/// The dark squares, row by row, as one path. It is drawn by the page, in the page's own document.
fn picture(text: &str) -> Result<QrPicture, Error> {
    let code =
        QrCode::new(text).map_err(|_| Error::Conflict("What the server answered is too long for a QR code.".into()))?;
    let size = code.width();
    let mut path = String::new();
    for (y, row) in code.to_colors().chunks(size).enumerate() {
        let mut x = 0;
        while x < size {
            let dark = row[x..].iter().take_while(|color| **color == Color::Dark).count();
            if dark > 0 {
                path.push_str(&format!("M{x} {y}h{dark}v1h-{dark}z"));
            }
            x += dark.max(1);
        }
    }
    Ok(QrPicture { size: u32::try_from(size).unwrap_or(u32::MAX), path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_covers_exactly_the_dark_squares() {
        let text = "2@abc,def,ghi==";
        let drawn = picture(text).unwrap();
        let code = QrCode::new(text).unwrap();
        assert_eq!(drawn.size as usize, code.width());
        let dark = code.to_colors().iter().filter(|color| **color == Color::Dark).count();
        let covered: usize = drawn
            .path
            .split('h')
            .skip(1)
            .step_by(2)
            .map(|run| run.split('v').next().unwrap().parse::<usize>().unwrap())
            .sum();
        assert_eq!(covered, dark);
        assert!(picture(&"x".repeat(3_000)).is_err());
    }
}
