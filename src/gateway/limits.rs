//! Every constant of the gateway that bounds something, in one table.

use std::time::Duration;

/// Receive window we open to peers, bytes (RFC 4254 section 5.2).
pub(super) const WINDOW: u32 = 2 << 20;
/// Largest packet we ask for, bytes.
pub(super) const PACKET: u32 = 32 * 1024;
/// Messages that russh queues for one channel before its connection loop waits. Our readers never wait, so this
/// only has to cover one scheduling delay.
pub(super) const CHANNEL_QUEUE: usize = 64;
/// Window we leave to a sender whose bytes the other end does not take: its packets of two bytes keep the
/// arrival clock of russh ticking, so that the window opens again by itself.
pub(super) const TRICKLE: u32 = 2;

/// Bytes that a packet of the trickle has at most on the wire.
pub(super) const TRICKLE_READ: usize = 512;

/// A backlog above this is congested, bytes.
pub(super) const BACKLOG_HIGH: usize = 1 << 20;
/// Target-to-client bytes above which the target's stream is read slowly.
pub(super) const BACKLOG_SLOW: usize = 2 << 20;
/// A backlog above this ends the channel, bytes. Flow control keeps honest peers far below.
pub(super) const BACKLOG_CAP: usize = 64 << 20;
/// Messages in a backlog above which the channel ends (tiny messages cost more than their bytes).
pub(super) const BACKLOG_ITEMS_CAP: usize = 1 << 20;
/// Answers of ours that an sftp client has not taken, bytes, above which nothing more of it is read.
pub(super) const ANSWERS_HELD: usize = 256 << 10;
/// What every message in a backlog weighs besides its bytes, for what it costs to keep.
pub(super) const ITEM_WEIGHT: usize = 128;
/// Messages without bytes that may wait in a backlog in a row; more end the channel.
pub(super) const WEIGHTLESS_MAX: u32 = 1000;
/// Bytes in the name of a signal.
pub(super) const SIGNAL_NAME_MAX: usize = 32;
/// Bytes that may wait for a program that is not authorised yet. A client that stops when it is told to has sent a window
/// and what makes a backlog congested, and some more on the way.
pub(super) const UNAUTHORISED_CAP: usize = 4 << 20;
/// All that waits for one TCP client together above this ends the channel that grows, bytes. russh does not hold a
/// peer to its window, so honest flow control alone is no bound.
pub(super) const CONNECTION_CAP: usize = 128 << 20;
/// Nap between reads from a client while a backlog towards a target is congested.
pub(super) const CLIENT_NAP: Duration = Duration::from_millis(5);
/// First nap between reads from a target whose client does not read.
pub(super) const TARGET_NAP_MIN: Duration = Duration::from_millis(5);
/// Longest such nap.
pub(super) const TARGET_NAP_MAX: Duration = Duration::from_millis(500);

/// Requests that connections of one identity may file within [`ASKED_WITHIN`]: each is told to its approvers.
pub(super) const ASKED_OF_ONE_MAX: usize = 12;
/// See [`ASKED_OF_ONE_MAX`].
pub(super) const ASKED_WITHIN: Duration = Duration::from_secs(600);
/// Times a session is tried whose grant ends between the yes and its beginning.
pub(super) const TRIES_MAX: u32 = 3;
/// Connections of one identity that may wait for access at once.
pub(super) const HELD_OF_ONE_MAX: usize = 20;
/// Connections that may wait for access at once in all.
pub(super) const HELD_MAX: usize = 500;
/// How often one that waits says so.
pub(super) const HELD_LINE: Duration = Duration::from_secs(60);
/// How often it looks by itself what became of its request; it is told of every change besides.
pub(super) const HELD_LOOK: Duration = Duration::from_secs(15);
/// How long it may be unable to see that.
pub(super) const HELD_UNSEEN_MAX: Duration = Duration::from_secs(30);
/// Nap between reads from a client that has filled the window of a channel which waits for access: slower than
/// [`CLIENT_NAP`], for that may last hours.
pub(super) const HELD_NAP: Duration = Duration::from_millis(50);
/// Bytes that a piece of the trickle of such a channel grows to.
pub(super) const HELD_PIECE: usize = 4096;
/// Time that asking for access, or taking that back, may take.
pub(super) const ASK_GRACE: Duration = Duration::from_secs(10);
/// How long before access ends by itself its session is told.
pub(super) const WARNINGS: [Duration; 2] = [Duration::from_secs(300), Duration::from_secs(60)];
/// How long that may wait for the client's window, which a slow download keeps full.
pub(super) const WARNING_PATIENCE: Duration = Duration::from_secs(30);

/// Session channels that may be open at once in one connection (sshd's `MaxSessions` is 10).
pub(super) const CHANNELS_MAX: usize = 64;
/// Jump channels that may be open at once in one outer connection.
pub(super) const JUMPS_MAX: usize = 32;
/// Forwarded channels that may be open at once in one connection.
pub(super) const FORWARDS_MAX: usize = 256;
/// Listeners at the target of one connection.
pub(super) const LISTENERS_MAX: usize = 16;
/// Forwarded channels that share one connection to the target. russh's client role cannot slow down one channel alone, so
/// one whose client does not read slows these down; the next ones get another connection.
pub(super) const LANE_CHANNELS_MAX: usize = 8;
/// Connections to the target for the forwards of one client connection.
pub(super) const LANES_MAX: usize = 40;
/// How long such a connection waits for its next channel, when it has no listener.
pub(super) const LANE_LINGER: Duration = Duration::from_secs(60);
/// How long a failed connection to the target answers for those who asked in the meantime.
pub(super) const LANE_FAILURE_LIFE: Duration = Duration::from_millis(500);
/// How long a target may take to connect for a client (TCP gives up after about two minutes).
pub(super) const FORWARD_CONNECT: Duration = Duration::from_secs(150);
/// Time one side of a forward has to close its channel once the other has: whoever hears the end of everything closes by
/// itself, and russh forgets a channel entirely only when the peer closes first.
pub(super) const FORWARD_CLOSE: Duration = Duration::from_millis(500);
/// Channels that a target may have asked for and nobody has looked at yet, per connection.
pub(super) const GUESTS_MAX: usize = 64;
/// How long a connection that comes in may wait for its listener to be registered.
pub(super) const GUEST_PATIENCE: Duration = Duration::from_secs(2);
/// Time a request for a listener may take besides dialling the target.
pub(super) const LISTEN_GRACE: Duration = Duration::from_secs(5);
/// Bytes of a host or path that are looked at; longer ones are no host and no path.
pub(super) const DESTINATION_MAX: usize = 300;
/// Bytes in the name of an X11 authentication protocol.
pub(super) const X11_NAME_MAX: usize = 64;
/// Bytes in an X11 cookie, which is written in hexadecimal.
pub(super) const X11_COOKIE_MAX: usize = 512;
/// Environment variables a client may set for one channel.
pub(super) const ENV_MAX: usize = 64;
/// Bytes in one environment value.
pub(super) const ENV_VALUE_MAX: usize = 4096;
/// Bytes in one command line.
pub(super) const COMMAND_MAX: usize = 128 * 1024;
/// Bytes in the name of a subsystem (RFC 4251 section 6).
pub(super) const SUBSYSTEM_NAME_MAX: usize = 64;
/// Rejected log-in attempts of one connection (an agent full of keys needs some).
pub(super) const AUTH_ATTEMPTS_MAX: usize = 16;

/// Connections of one network (an IPv4 address, an IPv6 /64) that may be unauthenticated at once.
pub(super) const UNAUTHENTICATED_OF_ONE_MAX: usize = 24;
/// Host certificates kept for the next connection to the same name.
pub(super) const CERTIFICATES_KEPT: usize = 256;
/// Connections of one identity at once (Ansible opens one for each of its forks), at most half of all.
pub(super) const CONNECTIONS_OF_ONE_MAX: usize = 128;
/// How long a connection outlives its sign-in: its sessions tell their clients.
pub(super) const SIGN_IN_FAREWELL: Duration = Duration::from_secs(2);
/// How long a peer may take nothing of what is written to it.
pub(super) const WRITE_STUCK_MAX: Duration = Duration::from_secs(90);
/// How long a peer may keep a connection open that we have ended.
pub(super) const SHUTDOWN_MAX: Duration = Duration::from_secs(5);
/// Time from the connection to the first request to authenticate. A person may compare a fingerprint in it.
pub(super) const FIRST_REQUEST: Duration = Duration::from_secs(30);
/// How often refused connections are logged.
pub(super) const REFUSALS_LOGGED: Duration = Duration::from_secs(10);
/// Time from the jump channel to the end of the inner handshake.
pub(super) const INNER_GRACE: Duration = Duration::from_secs(20);
/// Time the inner connection has to end once its jump channel has.
pub(super) const JUMP_END: Duration = Duration::from_secs(5);
/// Time from a channel to its shell, exec or subsystem request.
pub(super) const REQUEST_GRACE: Duration = Duration::from_secs(60);
/// Time the bastion may take for its own answers.
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(15);
/// Time the bastion's own answers may take to be taken.
pub(super) const ANSWER_GRACE: Duration = Duration::from_secs(5);
/// Time a last message to the client may take.
pub(super) const FAREWELL: Duration = Duration::from_millis(700);
/// Time the end of a channel may take on its way to a target.
pub(super) const TARGET_FAREWELL: Duration = Duration::from_millis(200);
/// How long the end of a target's output waits for the exit status while the client still sends.
pub(super) const EOF_HELD: Duration = Duration::from_secs(1);
/// Keepalives on our connections to targets; traffic from us also keeps a slow session's sshd from probing it.
pub(super) const TARGET_KEEPALIVE: Duration = Duration::from_secs(15);
/// Keepalives to clients.
pub(super) const CLIENT_KEEPALIVE: Duration = Duration::from_secs(30);
/// Unanswered keepalives after which a peer is gone.
pub(super) const KEEPALIVE_MAX: usize = 6;
/// Time open sessions get when the server stops.
pub(super) const DRAIN: Duration = Duration::from_secs(5);
/// How long somebody may take in the browser while `ssh` waits.
pub(super) const PAIRING_MAX: Duration = Duration::from_secs(600);
/// Looks at a pairing for one press of Enter.
pub(super) const PAIRING_LOOKS: u32 = 3;
/// Time between two of them.
pub(super) const PAIRING_PAUSE: Duration = Duration::from_millis(300);
/// Times Enter may be pressed too early.
pub(super) const PAIRING_ASKS: u32 = 8;
