export type { Client } from "./connection.js";
export type * from "./contract.js";
export type { Notification, NotificationOf, NotificationType } from "./entries.js";
export { Notifications, type NotificationsOptions } from "./notifications.js";
export { type AskType, Publisher, type PublisherOptions, type Within } from "./publisher.js";
export { type EventType, routingKey, shardOf } from "./routing.js";
