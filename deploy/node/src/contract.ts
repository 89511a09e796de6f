// Contract 1.0. Written by `make schema` from the types of the workers: do not edit.

/** A device takes the call. `confirmed`: a person has, behind a trunk with `confirm`. */
export interface Accept {
  peer: Peer;
  /** a text of 1 to 255 characters without white space, control characters, {, } or | */
  from: string;
  /** a text of 1 to 255 characters without white space, control characters, {, } or | */
  inviteId: string;
  to?: string | null;
  context?: unknown;
  confirmed?: boolean | null;
  transaction?: string | number | null;
}

/** A user has seen the missed calls that ended before the time `before` (ms since 1970); without it, all. */
export interface CallsSeen {
  /** a text of 1 to 255 characters without white space, control characters, {, } or | */
  userId: string;
  before?: number | null;
}

/** A device refuses the call; 600 and above for the whole user. */
export interface Decline {
  peer: Peer;
  /** a text of 1 to 255 characters without white space, control characters, {, } or | */
  from: string;
  /** a text of 1 to 255 characters without white space, control characters, {, } or | */
  inviteId: string;
  to?: string | null;
  errorCode?: number | null;
  context?: unknown;
  transaction?: string | number | null;
}

/** A peer's connection is lost. */
export interface Disconnected {
  peer: Peer;
  session?: string | null;
}

/** A device asks what rings for its user. */
export interface GetInvitations {
  peer: Peer;
  transaction?: string | number | null;
}

/** A user asks a callee into a room. `expires` is a ring time in ms; `ringMode` is for groups. `replaces` is the ref of an earlier invite of the user, which this one replaces. `probe`: the call tests the service. */
export interface Invite {
  peer: Peer;
  /** a text of 1 to 255 characters without white space, control characters, {, } or | */
  to: string;
  /** a text of 1 to 255 characters without white space, control characters, {, } or | */
  inviteId: string;
  mediatypes?: unknown;
  fromDetails?: unknown;
  context?: unknown;
  expires?: number | null;
  transaction?: string | number | null;
  /** a text of 1 to 255 characters without white space, control characters, {, } or | */
  room: string;
  ringMode?: "all" | "sequential" | "simultaneous" | null;
  requestId?: string | null;
  returnOf?: string | null;
  replaces?: string | null;
  probe?: boolean | null;
}

/** A user asks a callee for an invite into the callee's room. */
export interface InviteRequest {
  peer: Peer;
  /** a text of 1 to 255 characters without white space, control characters, {, } or | */
  to: string;
  /** a text of 1 to 255 characters without white space, control characters, {, } or | */
  inviteId: string;
  mediatypes?: unknown;
  fromDetails?: unknown;
  context?: unknown;
  expires?: number | null;
  transaction?: string | number | null;
}

/** A user is in a room, as `peer` if it is named. */
export interface Joined {
  /** a text of 1 to 255 characters without white space, control characters, {, } or | */
  userId: string;
  /** a text of 1 to 255 characters without white space, control characters, {, } or | */
  roomId: string;
  peer?: Peer | null;
}

/** A user has left a room. */
export interface Left {
  /** a text of 1 to 255 characters without white space, control characters, {, } or | */
  userId: string;
  /** a text of 1 to 255 characters without white space, control characters, {, } or | */
  roomId: string;
}

/** One connected device session of a user. `device` is the hardware, as in a registration. */
export interface Peer {
  /** a text of 1 to 255 characters without white space, control characters, {, } or | */
  id: string;
  /** a text of 1 to 255 characters without white space, control characters, {, } or | */
  user: string;
  device?: string | null;
}

/** A peer is reachable. */
export interface Registered {
  registry: Registry;
}

/** Where a user can be reached. `expires` in ms: it lapses unless it is repeated in time. `confirm`, of a trunk: its accept wins only once it is confirmed. */
export interface Registry {
  /** a text of 1 to 255 characters without white space, control characters, {, } or | */
  id: string;
  /** a text of 1 to 255 characters without white space, control characters, {, } or | */
  user: string;
  /** a text of 1 to 255 characters */
  type?: string;
  device?: string | null;
  session?: string | null;
  expires?: number | null;
  /** true or false */
  trunk?: boolean;
  /** * or a regular expression (RE2 syntax) of 1 to 1024 characters */
  match?: string;
  confirm?: boolean | null;
}

/** A device says that it rings. */
export interface Ringing {
  peer: Peer;
  /** a text of 1 to 255 characters without white space, control characters, {, } or | */
  from: string;
  /** a text of 1 to 255 characters without white space, control characters, {, } or | */
  inviteId: string;
  to?: string | null;
}

/** A room is over. */
export interface RoomClosed {
  /** a text of 1 to 255 characters without white space, control characters, {, } or | */
  roomId: string;
}

/** A device stops ringing, and nothing else changes. */
export interface Silence {
  peer: Peer;
  /** a text of 1 to 255 characters without white space, control characters, {, } or | */
  from: string;
  /** a text of 1 to 255 characters without white space, control characters, {, } or | */
  inviteId: string;
  to?: string | null;
  transaction?: string | number | null;
}

/** The inviter, or a service (no peer), takes the invite back. */
export interface StopInvite {
  /** a text of 1 to 255 characters without white space, control characters, {, } or | */
  inviteId: string;
  /** a text of 1 to 255 characters without white space, control characters, {, } or | */
  callee: string;
  from?: string | null;
  peer?: Peer | null;
  /** a whole number from 400 to 699 */
  errorCode?: number;
  transaction?: string | number | null;
}

/** A peer has signed off. */
export interface Unregistered {
  peer: Peer;
  session?: string | null;
}

/** All of a user's wishes. `until`: the time (ms since 1970) at which `dnd` is over. */
export interface UserState {
  /** a text of 1 to 255 characters without white space, control characters, {, } or | */
  userId: string;
  dnd?: boolean | null;
  until?: number | null;
  block?: readonly (string)[] | null;
}

/** The answer to a peer's event of the type `request`. The ids are None if the event named none. */
export interface Answer {
  inviteId: string | null;
  from: string | null;
  to: string | null;
  request: string;
  transaction?: string | number;
  code: number;
  reason: string | null;
  whoAccepted?: string;
  invitations?: readonly (OpenInvitation)[];
  more?: boolean;
}

/** A callee has missed a call, with or without a device. `kind` is direct or group; `at` in ms since 1970. */
export interface CallMissed {
  inviteId: string;
  from: string;
  to: string;
  kind: string;
  group?: string;
  room?: string;
  fromDetails: unknown;
  inviteRequest: boolean;
  code: number;
  reason: string;
  at: number;
}

/** A candidate of a finished call, or a member of the group that was called. */
export interface CallRecordCandidate {
  address: string;
  peer: string | null;
  endReason: number;
  context?: unknown;
}

/** A device rings. `expiresIn` is the time left in ms; `resumed`: the device may have the invitation already. `waiting`: the callee is in another call. `replaces` is the ref of an invite that this one follows, `number` what a trunk dials. */
export interface Invitation {
  inviteId: string;
  from: string;
  to: string;
  group?: string;
  room?: string;
  mediatypes: unknown;
  fromDetails: unknown;
  context: unknown;
  inviteRequest: boolean;
  expiresIn: number;
  resumed: boolean;
  waiting?: boolean;
  requestId?: string;
  replaces?: string;
  number?: string;
}

/** A device stops ringing. `peer` is the connection that accepted. */
export interface InvitationCancel {
  inviteId: string;
  from: string;
  to: string;
  code: number;
  reason: string;
  whoAccepted?: string;
  peer?: string;
}

/** The inviter's call is taken by `peer`, of the user `whoAccepted`; or merged `into` the invite of this ref. */
export interface InviteAccepted {
  inviteId: string;
  from: string;
  to: string;
  room: string | null;
  code: number;
  reason?: string;
  into?: string;
  whoAccepted: string;
  peer: string | null;
  context?: unknown;
}

/** The call record. Times are in ms since 1970. */
export interface InviteCompleted {
  inviteId: string;
  from: string;
  to: string;
  room: string | null;
  group: boolean;
  inviteRequest: boolean;
  mediatypes: unknown;
  state: string;
  error: number;
  whoAccepted: string | null;
  startedAt: number;
  endedAt: number;
  candidates: readonly (CallRecordCandidate)[];
  into?: string;
}

/** The inviter's call is in progress: 100, 110 or 180. The counts are current. `waiting`: the callee is in another call. */
export interface InviteProgress {
  inviteId: string;
  from: string;
  to: string;
  code: number;
  candidates: number;
  ringing: number;
  pushed: number;
  waiting?: boolean;
  transaction?: string | number;
}

/** The inviter's call is over. */
export interface InviteRejected {
  inviteId: string;
  from: string;
  to: string;
  code: number;
  reason: string;
  context?: unknown;
}

/** An invite that rings for the asking user. Times are in ms since 1970. */
export interface OpenInvitation {
  inviteId: string;
  from: string;
  to: string;
  group: string | null;
  room: string | null;
  state: string;
  inviteRequest: boolean;
  mediatypes: unknown;
  context: unknown;
  startedAt: number;
  expiresAt: number;
}

/** A room was closed. This ended `invites` pending invites. */
export interface RoomCleaned {
  roomId: string;
  invites: number;
}

/** A shard has lost its data: publish again what is known. */
export interface ServerEmptied {
  shard: number;
}

/** A user is in a call. `room` is the first one. */
export interface UserBusy {
  userId: string;
  room: string;
}

/** A user is no longer in any call. `room` was the last one. */
export interface UserFree {
  userId: string;
  room: string;
}

/** A user has joined a room. */
export interface UserJoined {
  userId: string;
  roomId: string;
}

/** A user has left a room. */
export interface UserLeft {
  userId: string;
  roomId: string;
}

/** Each type of event and its payload. */
export interface EventPayloads {
  invite: Invite;
  inviteRequest: InviteRequest;
  ringing: Ringing;
  accept: Accept;
  decline: Decline;
  silence: Silence;
  stopInvite: StopInvite;
  getInvitations: GetInvitations;
  registered: Registered;
  unregistered: Unregistered;
  disconnected: Disconnected;
  joined: Joined;
  left: Left;
  roomClosed: RoomClosed;
  userState: UserState;
  callsSeen: CallsSeen;
}

/** Each type of notification and its payload. */
export interface NotificationPayloads {
  invitation: Invitation;
  invitationCancel: InvitationCancel;
  inviteProgress: InviteProgress;
  inviteAccepted: InviteAccepted;
  inviteRejected: InviteRejected;
  answer: Answer;
  callMissed: CallMissed;
  INVITE_COMPLETED: InviteCompleted;
  userJoined: UserJoined;
  userLeft: UserLeft;
  roomCleaned: RoomCleaned;
  userBusy: UserBusy;
  userFree: UserFree;
  serverEmptied: ServerEmptied;
}

export const EVENT_TYPES: ReadonlySet<string> = new Set(["invite", "inviteRequest", "ringing", "accept", "decline", "silence", "stopInvite", "getInvitations", "registered", "unregistered", "disconnected", "joined", "left", "roomClosed", "userState", "callsSeen"]);
