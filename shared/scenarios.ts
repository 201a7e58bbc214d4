// The ids that choose how an order goes, so that each path can be taken on purpose through the normal flow.

const reserved = (ending: string) => `00000000-0000-0000-0000-000000000${ending}`;

/** The user of every scenario. */
export const SCENARIO_USER: string = reserved("001");

/** The courses that the fake provider and the seat decision know: paid and enrolled, declined, no seat left. */
export const RESERVED_COURSES = {
  success: reserved("101"),
  paymentFailure: reserved("102"),
  enrollmentFailure: reserved("103"),
} as const;
