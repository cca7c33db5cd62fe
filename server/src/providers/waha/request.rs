//! Which of WAHA's calls sends what.

use domain::messages::{
    Body,
    body::{Media, MediaSource},
};
use serde_json::{Value, json};

use super::{card, chat_id, chosen_id};
use crate::providers::Outgoing;

/// Whether WAHA takes an id of ours for it (`MessageTextRequest.id` and its siblings; media have no such field).
pub fn takes_id(body: &Body) -> bool {
    matches!(body, Body::Text(_) | Body::Location(_) | Body::Contacts(_))
}

/// Path and body of the call.
///
/// # Errors
/// Code and sentence when WAHA cannot send it.
pub fn of(session: &str, message: &Outgoing) -> Result<(&'static str, Value), (&'static str, String)> {
    let (path, mut body) = match &message.body {
        Body::Text(text) => ("/api/sendText", json!({ "text": text.body, "linkPreview": text.preview_url })),
        Body::Image(media) => {
            ("/api/sendImage", json!({ "file": file(media, "image/jpeg")?, "caption": media.caption }))
        }
        Body::Video(media) => {
            let mut file = file(media, "video/mp4")?;
            if file.get("filename").is_none() {
                // Required for videos alone (`VideoRemoteFile`).
                file["filename"] = "video.mp4".into();
            }
            // Converting needs ffmpeg on WAHA's side and time: only what WhatsApp would not play.
            let convert = mimetype(media) != Some("video/mp4");
            ("/api/sendVideo", json!({ "file": file, "caption": media.caption, "convert": convert }))
        }
        Body::Audio(media) => {
            let opus = mimetype(media) == Some("audio/ogg");
            let kind =
                if opus { "audio/ogg; codecs=opus" } else { mimetype(media).unwrap_or("audio/ogg; codecs=opus") };
            // A voice message has no file name (`VoiceRemoteFile`).
            let file = json!({ "url": link(media)?, "mimetype": kind });
            ("/api/sendVoice", json!({ "file": file, "convert": !opus }))
        }
        Body::Document(media) => {
            ("/api/sendFile", json!({ "file": file(media, "application/octet-stream")?, "caption": media.caption }))
        }
        // WAHA has no call for stickers; the picture arrives as a file.
        Body::Sticker(media) => ("/api/sendFile", json!({ "file": file(media, "image/webp")? })),
        Body::Location(place) => {
            let parts: Vec<&str> = [&place.name, &place.address].into_iter().flatten().map(String::as_str).collect();
            // The title is required.
            let title = match parts[..] {
                [] => format!("{}, {}", place.latitude, place.longitude),
                _ => parts.join(", "),
            };
            ("/api/sendLocation", json!({ "latitude": place.latitude, "longitude": place.longitude, "title": title }))
        }
        Body::Contacts(contacts) => {
            let cards: Vec<Value> = contacts.iter().map(|contact| json!({ "vcard": card::of(contact) })).collect();
            ("/api/sendContactVcard", json!({ "contacts": cards }))
        }
        Body::Template(_) => {
            return Err((
                "template_not_supported",
                "WAHA cannot send templates: an ordinary account sends free text.".into(),
            ));
        }
    };
    body["session"] = session.into();
    body["chatId"] = chat_id(&message.to).into();
    if takes_id(&message.body) {
        body["id"] = chosen_id(message.id).into();
    }
    if let Some(fields) = body.as_object_mut() {
        fields.retain(|_, value| !value.is_null());
    }
    Ok((path, body))
}

/// WAHA fetches the file itself.
fn link(media: &Media) -> Result<&str, (&'static str, String)> {
    match &media.source {
        MediaSource::Link(url) => Ok(url),
        MediaSource::Id(_) => {
            Err(("media_id_not_supported", "WAHA keeps no uploaded media: send a link instead of an id.".into()))
        }
    }
}

fn file(media: &Media, usual: &'static str) -> Result<Value, (&'static str, String)> {
    let url = link(media)?;
    let mut file = json!({ "url": url, "mimetype": mimetype(media).unwrap_or(usual) });
    if let Some(name) = media.filename.as_deref().or_else(|| name_in(url)) {
        file["filename"] = name.into();
    }
    Ok(file)
}

/// The last part of the path, if it looks like a file's name.
fn name_in(url: &str) -> Option<&str> {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let (_, path) = path.split_once("://")?;
    let (_, name) = path.rsplit_once('/')?;
    (name.contains('.') && !name.starts_with('.') && name.len() <= 200).then_some(name)
}

/// The type by the name's ending; the types that WhatsApp knows.
fn mimetype(media: &Media) -> Option<&'static str> {
    let url = match &media.source {
        MediaSource::Link(url) => name_in(url),
        MediaSource::Id(_) => None,
    };
    let ending = media.filename.as_deref().or(url)?.rsplit_once('.')?.1.to_ascii_lowercase();
    Some(match ending.as_str() {
        "jpg" | "jpeg" => "image/jpeg",
        "png" => "image/png",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "mp4" | "m4v" => "video/mp4",
        "3gp" => "video/3gpp",
        "mov" => "video/quicktime",
        "webm" => "video/webm",
        "ogg" | "oga" | "opus" => "audio/ogg",
        "mp3" => "audio/mpeg",
        "m4a" => "audio/mp4",
        "aac" => "audio/aac",
        "amr" => "audio/amr",
        "wav" => "audio/wav",
        "pdf" => "application/pdf",
        "txt" => "text/plain",
        "csv" => "text/csv",
        "doc" => "application/msword",
        "docx" => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "xls" => "application/vnd.ms-excel",
        "xlsx" => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "ppt" => "application/vnd.ms-powerpoint",
        "pptx" => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "zip" => "application/zip",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn media(link: &str, filename: Option<&str>) -> Media {
        Media { source: MediaSource::Link(link.into()), caption: None, filename: filename.map(str::to_owned) }
    }

    #[test]
    fn types_and_names_come_from_the_address() {
        let file = |link, name| file(&media(link, name), "application/octet-stream").unwrap();
        let url = "https://x.example/a/Bill.PDF?sig=1.exe#p";
        assert_eq!(file(url, None), json!({ "url": url, "mimetype": "application/pdf", "filename": "Bill.PDF" }));
        let url = "https://x.example/download";
        assert_eq!(file(url, Some("b.docx"))["mimetype"], mimetype(&media("", Some("b.docx"))).unwrap());
        assert_eq!(file(url, None), json!({ "url": url, "mimetype": "application/octet-stream" }));
        // The host is no file, whatever its ending.
        assert_eq!(file("https://x.png", None)["mimetype"], "application/octet-stream");
    }
}
