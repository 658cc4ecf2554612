import { chatRoutes } from './chat';
import { e2eRoutes } from './e2e';
import { directRoutes, groupRoutes } from './groups';
import { roomRoutes } from './rooms';
import type { Route } from './route';
import { userRoutes } from './users';

export const routes: readonly Route[] = [
  ...userRoutes,
  ...e2eRoutes,
  ...roomRoutes,
  ...groupRoutes,
  ...directRoutes,
  ...chatRoutes,
];
